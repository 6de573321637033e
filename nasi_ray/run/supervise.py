"""Report the end of a job even if Ray's C++ core, or the kernel, ends its process at once."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable

from nasi_ray.run.process import (
    EXIT_RETRYABLE,
    EXIT_STOPPED,
    FORWARDED_STOP,
    open_standard_streams,
)

_PR_SET_PDEATHSIG = 1


_STOPS = (signal.SIGINT, signal.SIGTERM)
_AWAITED = (*_STOPS, signal.SIGCHLD)


def supervised(job: Callable[[], int]) -> int:
    """Run a job in a child process; this one waits, and ends as the job does.

    If the child ends without a word, this process says so in one line and the status is 75: Ray
    ends its driver with status 1 when its raylet or GCS has died. SIGINT and SIGTERM are passed on;
    if this process is killed, so is the child. Where a caller has replaced the standard streams or
    has threads, and on systems other than Linux, the job runs in this process.

    Args:
        job: Returns the exit status, or raises SystemExit; handles ``FORWARDED_STOP``.

    Returns:
        The exit status.
    """
    if not _is_possible():
        return job()
    open_standard_streams()
    reader, writer = os.pipe()
    parent = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    # If it was ignored where this command was started, waitpid would find no child.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if child := os.fork():
        os.close(writer)
        return _wait_for(child, reader)
    os.close(reader)
    _die_with(parent)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
    status = 1
    try:
        status = job()
        return status
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    finally:
        os.write(writer, bytes([status & 0xFF]))


def _is_possible() -> bool:
    is_plain = sys.stdout is sys.__stdout__ and sys.stderr is sys.__stderr__
    return sys.platform == "linux" and is_plain and threading.active_count() == 1


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _wait_for(child: int, reader: int) -> int:
    """The exit status of the child by its own account, or what follows from its having none."""
    num_stops = 0
    # Not by handlers: a signal that comes just before waitpid begins would wait for the child.
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if signal.sigwait(_AWAITED) in _STOPS:
            num_stops += 1
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, FORWARDED_STOP)
    if told := os.read(reader, 1):
        return told[0]
    if num_stops:
        _say("stopped; what is stored is kept: run the same command again to continue")
        return EXIT_STOPPED
    code = os.waitstatus_to_exitcode(ended[1])
    how = f"exit status {code}" if code >= 0 else signal.Signals(-code).name
    _say(
        f"error: the job's process was killed ({how}). Ray does this when its raylet or GCS has "
        "died, the system when memory runs out. What is stored is kept: run the same command again "
        "to continue"
    )
    return EXIT_RETRYABLE


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode())
