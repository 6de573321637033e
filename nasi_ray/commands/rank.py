"""``nasi-ray rank``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasi_ray.commands.output import print_line, print_lines, printing_unwritten, write_page
from nasi_ray.run.process import EXIT_INCOMPLETE

if TYPE_CHECKING:
    from nasi_ray.ranking.result import RankingResult


def main(argv: Sequence[str]) -> int:
    """Parse, run, print; the exit status."""
    from nasi_ray.ranking.settings import parse_rank

    job = parse_rank(argv)
    from nasi_ray.display.progress import make_progress
    from nasi_ray.ranking.job import run_rank
    from nasi_ray.ranking.result import RankingResult

    with (
        printing_unwritten(RankingResult, _print_answer),
        contextlib.closing(make_progress(sys.stderr)) as progress,
    ):
        result = run_rank(job, progress)
    _print_answer(result)
    pictures = "scatter and deciles (svg, png), " if result.content["metric"] else ""
    print_line(f"written to {result.uri}: ranking.json, ranking.md, scores.csv, {pictures}scores/")
    write_page(result.uri, job.report)
    return EXIT_INCOMPLETE if result.num_lost else 0


def _print_answer(result: RankingResult) -> None:
    from nasi_ray.ranking.text import ranking_lines

    print_lines(ranking_lines(result.content))
    if "cost" in result.content:
        print_line(str(result.content["cost"]))
