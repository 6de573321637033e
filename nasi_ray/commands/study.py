"""``nasi-ray study``."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Sequence

from nasi_ray.commands.output import print_line, write_page
from nasi_ray.display.formats import plural
from nasi_ray.run.process import EXIT_INCOMPLETE


def main(argv: Sequence[str]) -> int:
    """Parse, run, print; the exit status."""
    from nasi_ray.study.settings import parse_study

    study = parse_study(argv)
    from nasi_ray.display.progress import make_progress
    from nasi_ray.study.job import run_study

    command = shlex.join(["nasi-ray", "study", *argv])
    with contextlib.closing(make_progress(sys.stderr)) as progress:
        result = run_study(study, progress, command=command)
    print_line(f"written to {result.uri}: {', '.join(result.files)}")
    num_lost = result.content["num_lost"]
    if num_lost:
        sys.stderr.write(
            f"warning: every attempt to evaluate {plural(num_lost, 'sample')} failed; run the same "
            "command again to retry\n"
        )
    write_page(result.uri, study.settings.report)
    return EXIT_INCOMPLETE if num_lost else 0
