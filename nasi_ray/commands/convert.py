"""``nasi-ray convert``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from nasi_ray.commands.output import print_lines


def main(argv: Sequence[str]) -> int:
    """Parse, run, print; the exit status."""
    from nasi_ray.tables.settings import parse_convert

    job = parse_convert(argv)
    from nasi_ray.display.progress import make_progress
    from nasi_ray.tables.job import run_convert

    with contextlib.closing(make_progress(sys.stderr)) as progress:
        lines = run_convert(job, progress)
    print_lines("\n".join(lines))
    return 0
