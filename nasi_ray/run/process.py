"""How a job's process ends: one-line errors, exit statuses, stopping. Light to import.

Exit statuses: 0 done; 1 an error that stays until something is changed (or a bug, with its
traceback); 2 a malformed flag; 4 answered without samples that were lost (their workers died or
they raised at every attempt), which the same command tries again; 75 an error that may pass by
itself (``NasiRayError.may_pass``: storage, cluster, workers), the same command continues; 130
stopped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from nasi_ray.errors import NasiRayError, SearchStoppedError

EXIT_ERROR = 1
EXIT_INCOMPLETE = 4
EXIT_MAY_PASS = os.EX_TEMPFAIL
EXIT_STOPPED = 130


@contextlib.contextmanager
def reporting_errors() -> Iterator[None]:
    """Print the errors users can cause as one line, and exit with the status that fits."""
    try:
        yield
    except SearchStoppedError as stopped:
        sys.stderr.write(f"{stopped}\n")
        sys.exit(EXIT_STOPPED)
    except NasiRayError as error:
        sys.stderr.write(f"error: {_printable(str(error))}\n")
        sys.exit(EXIT_MAY_PASS if error.may_pass else EXIT_ERROR)
    except KeyboardInterrupt:
        sys.stderr.write("stopped; what is stored is kept, and the same command continues\n")
        sys.exit(EXIT_STOPPED)


def _printable(text: str) -> str:
    # Names of files and fields may hold anything: line breaks, escape codes, lone surrogates.
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextlib.contextmanager
def stopping_once() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first SIGINT or SIGTERM (as ``ray job stop`` sends) only.

    A second signal while the first is being obeyed does nothing, so that it cannot cut off the
    storing of samples; the third ends the process at once. After a stop both signals are ignored
    for the rest of the process, so that none can change its exit status.
    """
    num_signals = 0

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal num_signals
        num_signals += 1
        if num_signals == 1:
            raise KeyboardInterrupt
        if num_signals > 2:
            os._exit(EXIT_STOPPED)

    before = {s: signal.signal(s, interrupt) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if num_signals else handler)
