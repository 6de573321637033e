"""Printing what a job found."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

from nasi_ray.display.formats import escaped, escaped_lines, one_line
from nasi_ray.errors import StorageError

R = TypeVar("R")


def print_line(line: str) -> None:
    """Write one line; whatever does not print becomes an escape."""
    print_lines(escaped(line))


def print_lines(text: str) -> None:
    """Write lines; whatever else does not print becomes an escape."""
    write(escaped_lines(text))


def write(text: str) -> None:
    """Write lines that are printable, but for codes of colours."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # ν and ± on a terminal without Greek
    sys.stdout.write(text.rstrip("\n") + "\n")


@contextlib.contextmanager
def printing_unwritten(kind: type[R], show: Callable[[R], None]) -> Iterator[None]:
    """Print a result whose files could not be written, before the error that says so.

    Args:
        kind: Of the job's result; that of another job inside is not printed.
        show: Prints it.
    """
    try:
        yield
    except StorageError as error:
        if isinstance(error.result, kind):
            show(error.result)
        raise


def write_page(uri: str, is_wanted: bool) -> None:
    """Write the page of a run that is done; without a page it is done, too.

    Raises:
        StorageError: If the storage fails, and a retry may help.
    """
    if not is_wanted:
        return
    from nasi_ray.pages.job import run_report
    from nasi_ray.pages.settings import ReportJob

    try:
        print_line(f"page: {run_report(ReportJob(runs=(uri,)))[0]}")
    except Exception as error:
        if isinstance(error, StorageError) and error.is_retryable:
            raise type(error)(
                f"{error}; only the page is missing: run the same command again to write it"
            ) from error
        # Of the run, or of the plotting library, which is another's code.
        reason = one_line(str(error)) or type(error).__name__
        sys.stderr.write(f"{escaped(f'note: no page was written: {reason}')}\n")
