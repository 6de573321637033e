"""``nasi-ray report``."""

from __future__ import annotations

from collections.abc import Sequence

from nasi_ray.commands.output import print_line


def main(argv: Sequence[str]) -> int:
    """Parse, run, print; the exit status."""
    from nasi_ray.pages.settings import parse_report

    job = parse_report(argv)
    from nasi_ray.pages.job import run_report

    page, *figures = run_report(job)
    drawn = f", and {len(figures)} figures as SVG and PNG in {job.figures}" if figures else ""
    print_line(f"written: {page}{drawn}")
    return 0
