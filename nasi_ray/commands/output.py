"""Printing what a job found."""

from __future__ import annotations

import io
import sys

from nasi_ray.display.formats import escaped, escaped_lines, one_line


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


def write_page(uri: str, is_wanted: bool) -> None:
    """Write the page of a run that is done; without a page it is done, too."""
    if not is_wanted:
        return
    from nasi_ray.pages.job import run_report
    from nasi_ray.pages.settings import ReportJob

    try:
        print_line(f"page: {run_report(ReportJob(runs=(uri,)))[0]}")
    except Exception as error:  # of the run, or of the plotting library, which is another's code
        reason = one_line(str(error)) or type(error).__name__
        sys.stderr.write(f"{escaped(f'note: no page was written: {reason}')}\n")
