from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from nasi_ray.errors import (
    ClusterError,
    ConfigError,
    NoCapacityError,
    RecordConflictError,
    RunLockedError,
    SearchStoppedError,
    StorageError,
    StorageRefusedError,
    UnequalResultsError,
    WorkerError,
)
from nasi_ray.run.process import reporting_errors, stopping_once


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ConfigError("mu is wrong"), 1, "error: mu is wrong\n"),
        (ConfigError("two\nlines \x1b[1m"), 1, "error: two\\nlines \\x1b[1m\n"),
        (RecordConflictError("x"), 1, "error: x\n"),
        (RunLockedError("x"), 1, "error: x\n"),
        (StorageRefusedError("x"), 1, "error: x\n"),
        (UnequalResultsError("x"), 1, "error: x\n"),
        (StorageError("x"), 75, "error: x\n"),
        (ClusterError("x"), 75, "error: x\n"),
        (NoCapacityError("x"), 75, "error: x\n"),
        (WorkerError("x"), 75, "error: x\n"),
        (SearchStoppedError("stopped with 3 of 9"), 130, "stopped with 3 of 9\n"),
        (
            KeyboardInterrupt(),
            130,
            "stopped; what is stored is kept, and the same command continues\n",
        ),
    ],
)
def test_errors_are_one_line_and_an_exit_status(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, text: str
) -> None:
    with pytest.raises(SystemExit) as caught, reporting_errors():
        raise error
    assert caught.value.code == code
    assert capsys.readouterr().err == text


def test_bugs_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError), reporting_errors():
        _ = 1 / 0


@pytest.fixture
def handlers_kept() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_without_a_signal_the_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stopping_once():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.usefixtures("handlers_kept")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_interrupts_and_later_ones_are_ignored(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), stopping_once():
        signal.raise_signal(number)
    signal.raise_signal(number)
    assert signal.getsignal(number) is signal.SIG_IGN


def test_a_signal_after_the_stop_does_not_change_the_exit_status() -> None:
    code = """
        import atexit, os, signal
        from nasi_ray.run.process import reporting_errors, stopping_once
        atexit.register(os.kill, os.getpid(), signal.SIGTERM)
        with reporting_errors(), stopping_once():
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.PIPE)
    assert done.returncode == 130


@pytest.mark.usefixtures("handlers_kept")
def test_the_second_signal_cannot_cut_off_what_the_first_began() -> None:
    done = []

    def stop_and_store() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGTERM)
            done.append("stored")
            raise

    with pytest.raises(KeyboardInterrupt), stopping_once():
        stop_and_store()
    assert done == ["stored"]


def test_the_third_signal_ends_the_process() -> None:
    code = """
        import signal
        from nasi_ray.run.process import stopping_once
        with stopping_once():
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
            print("still here")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    assert (done.returncode, done.stdout) == (130, "")


def test_stopping_works_before_the_heavy_imports() -> None:
    code = "import sys, nasi_ray.run.process; print('torch' in sys.modules, 'ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert done.stdout == "False False\n"
