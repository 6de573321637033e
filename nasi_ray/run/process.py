"""How a job's process ends: one-line errors, exit statuses, stopping. Light to import."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, TextIO

from nasi_ray.display.formats import escaped
from nasi_ray.errors import ConfigError, NasiRayError, SearchStoppedError, UnknownNameError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

EXIT_ERROR = 1
EXIT_SETTINGS = 2
EXIT_INCOMPLETE = 4
EXIT_RETRYABLE = os.EX_TEMPFAIL
EXIT_STOPPED = 130
FORWARDED_STOP = signal.SIGUSR1
"""A SIGINT or SIGTERM that came to the parent of the job's process (``run.supervise``)."""

_CALLBACK_S = 0.01
"""Longer than a callback takes that drops an exception."""

EXIT_STATUSES = (
    "Exit status: 0 done; 1 an error that you must fix first, or a bug; 2 a wrong command line or "
    "setting; 4 done, but some results are missing: run the same command again to compute them; 75 "
    "a temporary error (storage, cluster, workers): run the same command again to continue; 130 "
    "stopped: run the same command again to continue."
)
"""The rule of all jobs, for their ``--help``."""


@contextlib.contextmanager
def reporting_errors(*, only_prints: bool = False) -> Iterator[None]:
    """Print errors that users can cause as one line, and exit with the matching status.

    Errors and warnings of the log go to standard error, too, unless the caller handles them.
    Inside, standard streams may be closed or broken: what cannot be printed is left out.

    Args:
        only_prints: Whether what is printed is all that the job makes, so that it fails without.
    """
    output, is_help = _tolerate_broken_streams(), False
    try:
        with _printable_log():
            yield
    except SystemExit as end:
        if end.code:
            raise
        is_help = True  # nothing else ends so
    except SearchStoppedError as stopped:
        _exit(EXIT_STOPPED, str(stopped))
    except NasiRayError as error:
        _exit(_exit_status(error), f"error: {error}")
    except KeyboardInterrupt:
        _exit(
            EXIT_STOPPED,
            "stopped; what is stored is kept: run the same command again to continue",
        )
    finally:
        is_lost = _report_lost(output, is_error=only_prints or is_help)
    if is_lost:
        sys.exit(EXIT_RETRYABLE)
    if is_help:
        sys.exit()


def _exit_status(error: NasiRayError) -> int:
    if isinstance(error, ConfigError | UnknownNameError):
        return EXIT_SETTINGS
    return EXIT_RETRYABLE if error.is_retryable else EXIT_ERROR


def _exit(status: int, message: str) -> None:
    sys.stderr.write(f"{escaped(message)}\n")
    sys.exit(status)


class _LogToStderr(logging.Handler):
    """Writes log records as people may see them, whatever they quote, where errors go.

    Names of files, keys, hosts and fields and texts of services may hold anything: line breaks,
    escape codes, lone surrogates.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        lines = [escaped(record.getMessage())]
        if record.exc_info:
            told = "".join(traceback.format_exception(*record.exc_info)).rstrip().split("\n")
            # Indented, so that a line of the exception's text is not taken for one of ours.
            lines += [f"  {escaped(line)}" for line in told]
        sys.stderr.write("".join(f"{line}\n" for line in lines))


@contextlib.contextmanager
def _printable_log() -> Iterator[None]:
    handler = _LogToStderr()
    # A caller with handlers of its own has the records.
    is_needed = not logging.root.handlers
    if is_needed:
        logging.root.addHandler(handler)
    try:
        yield
    finally:
        logging.root.removeHandler(handler)


@contextlib.contextmanager
def stopping_once() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first SIGINT or SIGTERM (as ``ray job stop`` sends) only.

    A second signal does nothing while the first is being handled, so that it cannot interrupt the
    storing of samples. The third ends the process at once. After a stop both signals are ignored
    for the rest of the process, so that they cannot change its exit status. Python drops what is
    raised in a destructor or a callback of a weak reference; a stop that hits one comes again.
    """
    num_signals = 0
    by_way = Counter[bool]()

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal num_signals
        # What is sent to the whole process group comes here both ways.
        by_way[signum == FORWARDED_STOP] += 1
        if max(by_way.values()) == num_signals:
            return
        num_signals += 1
        if num_signals == 1:
            raise KeyboardInterrupt
        if num_signals > 2:
            os._exit(EXIT_STOPPED)

    report_dropped = sys.unraisablehook
    repeats: list[threading.Timer] = []

    def repeat(dropped: sys.UnraisableHookArgs) -> None:
        nonlocal num_signals
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            report_dropped(dropped)
            return
        num_signals = 0
        by_way.clear()
        # After this callback, in which an exception is dropped too.
        repeats.append(threading.Timer(_CALLBACK_S, os.kill, (os.getpid(), signal.SIGINT)))
        repeats[-1].start()

    stops = (signal.SIGINT, signal.SIGTERM, FORWARDED_STOP)
    before = {s: signal.signal(s, interrupt) for s in stops}
    sys.unraisablehook = repeat
    try:
        yield
    finally:
        sys.unraisablehook = report_dropped
        for repeated in repeats:
            repeated.cancel()
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if num_signals else handler)


class _LenientFile(io.FileIO):
    """A standard stream's file that drops what cannot be written."""

    failure: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            return memoryview(data).nbytes


def open_standard_streams() -> None:
    """Open those that are closed, so that the next file opened is none of them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)


def _tolerate_broken_streams() -> _LenientFile | None:
    """Make closed and broken standard streams writable for the rest of the process.

    Returns:
        The file of standard output; None if a caller has replaced the stream.
    """
    open_standard_streams()
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _wrap(_LenientFile(2, "w", closefd=False), sys.stderr)
    if sys.stdout is not None and sys.stdout is not sys.__stdout__:
        return None
    output = _LenientFile(1, "w", closefd=False)
    sys.stdout = _wrap(output, sys.stdout)
    return output


def _wrap(file: _LenientFile, stream: TextIO | None) -> io.TextIOWrapper:
    """A text stream to the file, like ``stream``, except that no character is an error."""
    if not isinstance(stream, io.TextIOWrapper):
        return io.TextIOWrapper(io.BufferedWriter(file), "utf-8", "replace", line_buffering=True)
    return io.TextIOWrapper(
        file if stream.write_through else io.BufferedWriter(file),
        encoding=stream.encoding,
        errors="replace" if stream.errors in ("strict", "surrogateescape") else stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _report_lost(output: _LenientFile | None, *, is_error: bool) -> bool:
    """Say that output is lost, unless its reader has gone away; whether that is an error."""
    if output is None:
        return False
    sys.stdout.flush()
    if output.failure is None or output.failure.errno == errno.EPIPE:
        return False
    lost = f"standard output cannot be written: {output.failure.strerror}"
    advice = "; run the same command again with another standard output"
    sys.stderr.write(f"error: {lost}{advice}\n" if is_error else f"warning: {lost}\n")
    return is_error
