"""Search a cell: sample architectures at initialization, estimate α, select and draw the cell.

    python jobs/search.py --preset nasi-fix --data DATA --out runs/first

The same command again continues from the run's records, or answers from them at once.
"""

from __future__ import annotations

import contextlib
import io
import sys

from nasi_ray.run.process import EXIT_INCOMPLETE, reporting_errors, stopping_once


def main() -> int:
    """Parse, run, print."""
    with reporting_errors(), stopping_once():
        # Importing torch and Ray takes seconds in which Ctrl-C must work, too.
        from nasi_ray.display.progress import make_progress
        from nasi_ray.display.terminal import wants_color
        from nasi_ray.run.command_line import parse_search
        from nasi_ray.search.job import run_search
        from nasi_ray.search.text import lost_warning, summary_lines

        job = parse_search(sys.argv[1:])
        with contextlib.closing(make_progress(sys.stderr)) as progress:
            result = run_search(job, progress)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # ν and ± in a terminal that has no Greek
        print(summary_lines(result, color=wants_color(sys.stdout)))
        if "cost" in result:
            print(result["cost"])
        cell = "genotype.json, cell.svg, cell.png, " if "genotype" in result else ""
        print(f"written to {job.run_uri}: result.json, {cell}samples/")
        if warning := lost_warning(result):
            print(warning, file=sys.stderr)
            return EXIT_INCOMPLETE
    return 0


if __name__ == "__main__":
    sys.exit(main())
