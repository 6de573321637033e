"""The finalists of a search or sweep: ``--final``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasi_ray.commands.output import print_line, print_lines, printing_unwritten
from nasi_ray.display.formats import plural

if TYPE_CHECKING:
    from nasi_ray.finalists.job import FinalistPlan, FinalistResult
    from nasi_ray.search.result import SearchResult


def run_and_print(plan: FinalistPlan, results: Sequence[SearchResult], uri: str) -> FinalistResult:
    """Train the finalists of searches into a run directory, and print their table."""
    from nasi_ray.display.progress import make_progress
    from nasi_ray.finalists.job import FinalistResult, run_finalists
    from nasi_ray.finalists.text import finalist_lines

    def show(result: FinalistResult) -> None:
        print_lines("\n" + finalist_lines(result.content))

    with (
        printing_unwritten(FinalistResult, show),
        contextlib.closing(make_progress(sys.stderr)) as progress,
    ):
        result = run_finalists(plan, results, uri, progress)
    show(result)
    print_line(f"written to {uri}: {', '.join(result.files)}")
    if result.num_failed:
        sys.stderr.write(
            f"warning: the training of {plural(result.num_failed, 'finalist')} failed; run the "
            "same command again to retry\n"
        )
    return result
