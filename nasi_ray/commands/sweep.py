"""``nasi-ray sweep``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasi_ray.commands.finalists import run_and_print
from nasi_ray.commands.output import print_line, print_lines, printing_unwritten, write_page
from nasi_ray.display.formats import plural
from nasi_ray.run.process import EXIT_INCOMPLETE

if TYPE_CHECKING:
    from nasi_ray.sweep.result import SweepResult


def main(argv: Sequence[str]) -> int:
    """Parse, run, print; the exit status."""
    from nasi_ray.sweep.settings import parse_sweep

    job = parse_sweep(argv)
    from nasi_ray.display.progress import make_progress
    from nasi_ray.finalists.job import plan_finalists
    from nasi_ray.sweep.job import run_sweep
    from nasi_ray.sweep.result import SweepResult
    from nasi_ray.sweep.settings import only_search

    one = only_search(job)
    plan = plan_finalists(job.final, one.samples, one.estimate, one.compute, job.tracking)
    with (
        printing_unwritten(SweepResult, _print_answer),
        contextlib.closing(make_progress(sys.stderr)) as progress,
    ):
        result = run_sweep(job, progress)
    _print_answer(result)
    parts = (name.partition("/") for name in result.files)
    named = dict.fromkeys(f"{top}{slash}" for top, slash, _ in parts)
    print_line(f"written to {result.uri}: {', '.join(named)}, runs/")
    num_failed = 0
    if plan is not None:
        good = [search for search in result.searches[0] if search is not None]
        num_failed = run_and_print(plan, good, result.uri).num_failed
    if result.num_failed or result.num_lost:
        failures = []
        if result.num_failed:
            searches = "search" if result.num_failed == 1 else "searches"
            failures.append(f"{result.num_failed} {searches} failed")
        if result.num_lost:
            failures.append(f"every attempt to evaluate {plural(result.num_lost, 'sample')} failed")
        sys.stderr.write(
            f"warning: {', and '.join(failures)}; run the same command again to retry\n"
        )
        num_failed += 1
    write_page(result.uri, job.report)
    return EXIT_INCOMPLETE if num_failed else 0


def _print_answer(result: SweepResult) -> None:
    from nasi_ray.sweep.text import sweep_lines

    print_lines(sweep_lines(result.content))
    if "cost" in result.content:
        print_line(str(result.content["cost"]))
