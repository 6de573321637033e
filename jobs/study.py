"""Study the method against tables of true accuracies: figures, tables, and every number.

    python jobs/study.py table2 --space s1 --table TABLES --data DATA --out runs/study

Subcommands: agnostic, effectiveness, tradeoff, table2, cells, ablation. They share the searches'
records below --out, so that the same command again continues, or answers at once.
"""

from __future__ import annotations

import contextlib
import shlex
import sys

from nasi_ray.run.process import EXIT_INCOMPLETE, reporting_errors, stopping_once


def main() -> int:
    """Parse, run, say what was written."""
    with reporting_errors(), stopping_once():
        # Importing torch and Ray takes seconds in which Ctrl-C must work, too.
        from nasi_ray.display.progress import make_progress
        from nasi_ray.study.job import run_study
        from nasi_ray.study.settings import parse_study

        study = parse_study(sys.argv[1:])
        command = shlex.join(["python", *sys.argv])
        with contextlib.closing(make_progress(sys.stderr)) as progress:
            content, files = run_study(study, progress, command=command)
        print(f"written to {study.settings.out}: {', '.join(files)}")
        if num_lost := content["num_lost"]:
            print(f"warning: {num_lost} samples were lost at every attempt", file=sys.stderr)
            return EXIT_INCOMPLETE
    return 0


if __name__ == "__main__":
    sys.exit(main())
