"""``nasi-ray export``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from nasi_ray.commands.output import print_lines


def main(argv: Sequence[str]) -> int:
    """Parse, run, print; the exit status."""
    from nasi_ray.export.settings import parse_export

    job = parse_export(argv)
    from nasi_ray.display.progress import make_progress
    from nasi_ray.export.job import export_lines, run_export

    with contextlib.closing(make_progress(sys.stderr)) as progress:
        content = run_export(job, progress.message)
    print_lines(export_lines(content))
    if job.left_out:
        sys.stderr.write(f"note: {job.left_out}\n")
    return 0
