from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from nasi_ray.errors import (
    ClusterError,
    ConfigError,
    DataError,
    NoCapacityError,
    RecordConflictError,
    RunLockedError,
    SearchStoppedError,
    StorageError,
    StorageRefusedError,
    UnequalResultsError,
    UnknownNameError,
    WorkerError,
)
from nasi_ray.run.process import reporting_errors, stopping_once

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ConfigError("mu is wrong"), 2, "error: mu is wrong\n"),
        (ConfigError("two\nlines \x1b[1m"), 2, "error: two\\nlines \\x1b[1m\n"),
        (
            UnknownNameError("space", "s4", ["s3", "s1"]),
            2,
            "error: unknown space 's4'; choose one of s1, s3\n",
        ),
        (DataError("x"), 1, "error: x\n"),
        (RecordConflictError("x"), 1, "error: x\n"),
        (RunLockedError("x"), 1, "error: x\n"),
        (StorageRefusedError("x"), 1, "error: x\n"),
        (UnequalResultsError("x"), 1, "error: x\n"),
        (StorageError("x"), 75, "error: x\n"),
        (ClusterError("x"), 75, "error: x\n"),
        (NoCapacityError("x"), 75, "error: x\n"),
        (WorkerError("x"), 75, "error: x\n"),
        (SearchStoppedError("stopped with 3 of 9"), 130, "stopped with 3 of 9\n"),
        (SearchStoppedError("stopped\r, \x1b[1m"), 130, "stopped\\r, \\x1b[1m\n"),
        (
            KeyboardInterrupt(),
            130,
            "stopped; what is stored is kept: run the same command again to continue\n",
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


def test_a_stop_that_hits_a_destructor_comes_again() -> None:
    code = """if True:
        import os, signal, sys, time
        from nasi_ray.run.process import reporting_errors, stopping_once
        class Slow:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.001)  # the handler raises here, and Python drops it
        with reporting_errors(), stopping_once():
            Slow()
            print("dropped")
            time.sleep(60)
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert (ended.returncode, ended.stdout) == (130, "dropped\n")
    assert "Traceback" not in ended.stderr


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


PRINTING = """
    import sys
    from nasi_ray.run.process import reporting_errors
    with reporting_errors():
        with open("records", "w") as records:
            for _ in range(3):
                print("ν" * 10_000, sys.stdout.isatty())
                print("progress", file=sys.stderr, flush=True)
            records.write("records")
    sys.exit(4)
"""


@pytest.mark.parametrize(
    ("streams", "has_out", "has_err"),
    [
        ("", True, True),
        (">&-", False, True),
        ("2>&-", True, False),
        ("<&-", True, True),
        ("<&- >&- 2>&-", False, False),
        ("> /dev/full", False, True),
        ("2> /dev/full", True, False),
        ("> /dev/full 2>&1", False, False),
        ("> >(:)", False, True),
        ("2> >(:)", True, False),
    ],
)
def test_closed_and_broken_streams_change_nothing(
    tmp_path: Path, streams: str, has_out: bool, has_err: bool
) -> None:
    is_buffered = "2" in streams
    command = f"sleep {0.3 * (':' in streams)}; exec {shlex.quote(sys.executable)}"  # readers go
    done = subprocess.run(
        ["bash", "-c", f'({command} "$@") {streams}', "", "-c", textwrap.dedent(PRINTING)],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONIOENCODING": "ascii",
            "PYTHONUNBUFFERED": "" if is_buffered else "1",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4, done.stderr
    assert (tmp_path / "records").read_text() == "records"
    assert done.stdout == has_out * 3 * ("?" * 10_000 + " False\n")
    warning = "warning: standard output cannot be written: No space left on device\n"
    assert done.stderr == has_err * (3 * "progress\n" + (streams == "> /dev/full") * warning)


@pytest.mark.parametrize(
    ("ending", "streams", "code"),
    [
        ("pass", "> /dev/full", 75),
        ("sys.exit(0)", "> /dev/full", 75),
        ("sys.exit(2)", "> /dev/full", 2),
        ("pass", "1< /dev/null", 75),
        ("pass", "> >(:)", 0),
        ("sys.exit(0)", "> >(:)", 0),
        ("pass", "> /dev/null", 0),
    ],
)
def test_a_command_that_only_prints_fails_if_it_cannot(
    ending: str, streams: str, code: int
) -> None:
    program = f"""
        import sys
        from nasi_ray.run.process import reporting_errors
        with reporting_errors(only_prints=True):
            print("x" * 10_000)
            {ending}
    """
    wait = f"sleep {0.3 * (':' in streams)}"  # the reader goes
    command = ["bash", "-c", f'({wait}; exec "$0" -c "$1") {streams}']
    done = subprocess.run(
        [*command, sys.executable, textwrap.dedent(program)], stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == code, done.stderr
    told = "error: standard output cannot be written: .*; run the same command again with another"
    assert bool(re.match(told, done.stderr)) == (code != 0)


@pytest.mark.parametrize("words", ["version", "--help", "cluster --help"])
def test_commands_that_only_print_say_so(words: str) -> None:
    command = [sys.executable, "-m", "nasi_ray", *words.split()]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 75
    assert done.stderr.startswith("error: standard output cannot be written: No space left")


def test_an_error_with_standard_error_closed_has_its_status() -> None:
    code = """
        from nasi_ray.errors import StorageError
        from nasi_ray.run.process import reporting_errors
        with reporting_errors():
            raise StorageError("S3 is down")
    """
    command = ["bash", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, textwrap.dedent(code)]
    assert subprocess.run(command).returncode == 75
