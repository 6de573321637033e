"""``nasi-ray describe``."""

from __future__ import annotations

import json
from collections.abc import Sequence

from nasi_ray.commands.output import print_lines
from nasi_ray.files import user_path


def main(argv: Sequence[str]) -> int:
    """Parse, run, print; the exit status."""
    from nasi_ray.describe.settings import parse_describe

    job = parse_describe(argv)
    from nasi_ray.describe.job import describe, describe_lines

    content = describe(job)
    print_lines(json.dumps(content) if job.json else describe_lines(content))
    if job.picture is not None and not job.json:
        print_lines(f"picture written to {user_path(job.picture).absolute()}")
    return 0
