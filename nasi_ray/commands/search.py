"""``nasi-ray search``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasi_ray.commands.finalists import run_and_print
from nasi_ray.commands.output import print_line, printing_unwritten, write, write_page
from nasi_ray.commands.train import train
from nasi_ray.display.formats import escaped
from nasi_ray.run.process import EXIT_INCOMPLETE

if TYPE_CHECKING:
    from nasi_ray.search.result import SearchResult


def main(argv: Sequence[str]) -> int:
    """Parse, run, print; the exit status."""
    from nasi_ray.search.settings import parse_search
    from nasi_ray.training.settings import job_after_search, refuse_unknown_recipe

    job = parse_search(argv)
    if job.then_train:
        refuse_unknown_recipe(job.then_train)
    from nasi_ray.display.progress import make_progress
    from nasi_ray.finalists.job import plan_finalists
    from nasi_ray.search.job import run_search
    from nasi_ray.search.result import SearchResult
    from nasi_ray.search.text import lost_warning

    plan = plan_finalists(job.final, job.samples, job.estimate, job.compute, job.tracking)
    with (
        printing_unwritten(SearchResult, _print_answer),
        contextlib.closing(make_progress(sys.stderr)) as progress,
    ):
        result = run_search(job, progress)
    _print_answer(result)
    _print_files(result)
    warning = lost_warning(result.content)
    if warning:
        sys.stderr.write(f"{escaped(warning)}\n")
    architecture, num_failed = result.architecture, 0
    if plan is not None:
        found = run_and_print(plan, [result], result.uri)
        architecture, num_failed = found.architecture, found.num_failed
    if job.then_train:
        train(
            job_after_search(
                job.then_train,
                job.samples,
                job.compute,
                space=job.samples.space,
                architecture=architecture.to_string(),
                out=result.uri,
                tracking=job.tracking,
            )
        )
    write_page(result.uri, job.report)
    return EXIT_INCOMPLETE if warning or num_failed else 0


def _print_answer(result: SearchResult) -> None:
    from nasi_ray.display.terminal import wants_color
    from nasi_ray.search.text import summary_lines

    write(summary_lines(result.content, color=wants_color(sys.stdout)))
    if "cost" in result.content:
        print_line(str(result.content["cost"]))


def _print_files(result: SearchResult) -> None:
    genotype = "genotype.json, " if "genotype" in result.content else ""
    is_drawn = genotype or hasattr(result.architecture, "graph")
    cell = "cell.svg, cell.png, " if is_drawn else ""
    front = "front.svg, front.png, " if "front" in result.content else ""
    records = "measurements/" if result.table is None else "samples/"
    print_line(
        f"written to {result.uri}: result.json, settings.yaml, {genotype}{cell}{front}{records}"
    )
