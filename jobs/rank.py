"""Rank architectures by training-free proxies, and compare the ranking with their accuracies.

    python jobs/rank.py --space s1 --architectures 300 --data DATA --table TABLE --out runs/rank

The same command continues; more proxies, seeds or architectures extend the run's records.
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
        from nasi_ray.ranking.job import run_rank
        from nasi_ray.ranking.text import ranking_lines
        from nasi_ray.run.command_line import parse_rank

        job = parse_rank(sys.argv[1:])
        with contextlib.closing(make_progress(sys.stderr)) as progress:
            result = run_rank(job, progress)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # τ may not exist there
        print(ranking_lines(result))
        if "cost" in result:
            print(result["cost"])
        pictures = "scatter and deciles (svg, png), " if result["metric"] else ""
        print(f"written to {job.run_uri}: ranking.json, ranking.md, scores.csv, {pictures}scores/")
    return EXIT_INCOMPLETE if any(proxy["num_lost"] for proxy in result["proxies"]) else 0


if __name__ == "__main__":
    sys.exit(main())
