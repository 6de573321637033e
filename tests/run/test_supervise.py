"""A job's process has a parent that reports every end that the process cannot report itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.integration

MAIN = """
import os, signal, sys, time
from nasi_ray.errors import *
from nasi_ray.run.process import reporting_errors, stopping_once
from nasi_ray.run.supervise import supervised

def job():
    with reporting_errors(), stopping_once():
{body}

sys.exit(supervised(job))
"""


def start(body: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-c", MAIN.format(body=textwrap.indent(textwrap.dedent(body), " " * 8))],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


ORDERLY = {
    "return": ("return 0", 0, ""),
    "status": ("return 4", 4, ""),
    "exit": ("sys.exit(3)", 3, ""),
    "no status": ("sys.exit()", 0, ""),
    "text": ("sys.exit('why')", 1, "why\n"),
    "retryable": ("raise ClusterError('gone')", 75, "error: gone\n"),
    "not retryable": ("raise DataError('no image')", 1, "error: no image\n"),
    "setting": ("raise ConfigError('wrong')", 2, "error: wrong\n"),
    "stopped": ("raise SearchStoppedError('halt')", 130, "halt\n"),
    "Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", 130, None),
    "bug": ("raise ValueError('bug')", 1, None),
    "dead after its report": (
        "import atexit; atexit.register(os._exit, 1); raise ClusterError('gone')",
        75,
        "error: gone\n",
    ),
}


@pytest.mark.parametrize("name", ORDERLY)
def test_an_end_with_a_report_is_passed_on(name: str) -> None:
    body, status, told = ORDERLY[name]
    out, err = (process := start(body)).communicate(timeout=60)
    assert process.returncode == status, err
    assert out == ""
    assert told is None or err == told
    assert ("Traceback" in err) is (name == "bug")


def test_a_command_that_was_started_with_sigchld_ignored_ends_as_its_job() -> None:
    ignored = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)"  # as it survives exec
    body = """
    import subprocess
    assert subprocess.run([sys.executable, "-c", "raise SystemExit(3)"]).returncode == 3
    return 4
    """
    script = MAIN.format(body=textwrap.indent(textwrap.dedent(body), " " * 8))
    done = subprocess.run(
        [sys.executable, "-c", script.replace("sys.exit(s", f"{ignored}\nsys.exit(s")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 4, done.stderr


KILLED = {
    "exit at once": ("os._exit(1)", "exit status 1"),
    "exit at once as if all were well": ("os._exit(0)", "exit status 0"),
    "abort": ("os.abort()", "SIGABRT"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    "crashed": ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    "hung up": ("os.kill(os.getpid(), signal.SIGHUP)", "SIGHUP"),
}


@pytest.mark.parametrize("name", KILLED)
def test_an_end_without_a_report_is_one_line_and_75(name: str) -> None:
    body, how = KILLED[name]
    out, err = (process := start(body)).communicate(timeout=60)
    assert (process.returncode, out) == (75, ""), err
    (line,) = err.splitlines()
    assert line.startswith(f"error: the job's process was killed ({how})")
    assert line.endswith("What is stored is kept: run the same command again to continue")


STOPPING = """
try:
    print("ready", flush=True)
    for _ in range(6000):  # a signal between two calls is noticed after the second
        time.sleep(0.01)
except KeyboardInterrupt:
    print("stopping", flush=True)
    {then}
    raise SearchStoppedError("halt") from None
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("is_to_all", [False, True])
@pytest.mark.parametrize("times", [1, 2])
def test_stops_reach_the_job_once_however_they_are_sent(
    signum: signal.Signals, is_to_all: bool, times: int
) -> None:
    process = start(STOPPING.format(then="sys.stdin.readline()"), stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for number in range(times):
        (os.killpg if is_to_all else os.kill)(process.pid, signum)
        if number == 0:
            assert process.stdout.readline() == "stopping\n"
    out, err = process.communicate("go on\n", timeout=60)
    assert (process.returncode, out, err) == (130, "", "halt\n")


@pytest.mark.parametrize("is_to_all", [False, True])
def test_the_third_stop_ends_the_job_at_once(is_to_all: bool) -> None:
    process = start(STOPPING.format(then="time.sleep(60)"))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    send = os.killpg if is_to_all else os.kill
    send(process.pid, signal.SIGTERM)
    assert process.stdout.readline() == "stopping\n"
    while process.poll() is None:
        send(process.pid, signal.SIGTERM)
        time.sleep(0.1)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert err == "stopped; what is stored is kept: run the same command again to continue\n"


def test_a_job_whose_parent_is_killed_ends(tmp_path: Path) -> None:
    process = start("print(os.getpid(), flush=True); time.sleep(60)")
    assert process.stdout is not None
    job = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.communicate()
    job.wait(timeout=50)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_become_the_pipe_to_the_parent(tmp_path: Path, closed: str) -> None:
    script = MAIN.format(body="        print('x' * 9); sys.stderr.write('x' * 9); return 4")
    command = f'"$@" {closed}'
    done = subprocess.run(
        ["bash", "-c", command, "", sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
    )
    assert done.returncode == 4, done.stderr


IN_ONE_PROCESS = {
    "a replaced stream": "import io; sys.stdout = io.TextIOWrapper(io.FileIO(1, 'w'))",
    "a thread": "import threading; threading.Thread(target=time.sleep, args=(60,), daemon=True)"
    ".start()",
    "another system": "sys.platform = 'darwin'",
}


@pytest.mark.parametrize("name", IN_ONE_PROCESS)
def test_where_a_fork_would_do_harm_there_is_one_process(name: str) -> None:
    body = "        return 7 if os.getpid() == int(sys.stdin.readline()) else 1"
    script = MAIN.format(body=body).replace("sys.exit(", f"{IN_ONE_PROCESS[name]}\nsys.exit(")
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        text=True,
    )
    process.communicate(f"{process.pid}\n")
    assert process.returncode == 7
