"""``nasi-ray train``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasi_ray.commands.output import print_line, printing_unwritten, write_page
from nasi_ray.run.process import EXIT_INCOMPLETE

if TYPE_CHECKING:
    from nasi_ray.training.settings import TrainJob


def main(argv: Sequence[str]) -> int:
    """Parse, run, print; the exit status."""
    from nasi_ray.training.settings import parse_train

    job = parse_train(argv)
    if job.subject.genotypes is not None:
        return _train_cells(job)
    write_page(train(job), job.report)
    return 0


def _train_cells(job: TrainJob) -> int:
    from nasi_ray.display.progress import make_progress
    from nasi_ray.training.cells import run_cells
    from nasi_ray.training.settings import ACCURACIES

    with contextlib.closing(make_progress(sys.stderr)) as progress:
        result = run_cells(job, progress)
    table = (
        f"written to {result.uri}: {ACCURACIES}, cells/"
        if result.num_trained
        else "nothing trained"
    )
    print_line(f"{result.num_trained} trained, {len(result.failures)} failed; {table}")
    write_page(result.uri, job.report and result.num_trained > 0)
    return EXIT_INCOMPLETE if result.failures else 0


def train(job: TrainJob) -> str:
    """Train one network, and say how good it is; the run directory."""
    from nasi_ray.display.progress import make_progress
    from nasi_ray.training.job import run_train
    from nasi_ray.training.result import TrainResult
    from nasi_ray.training.text import result_line, verdict

    with (
        printing_unwritten(TrainResult, lambda result: print_line(verdict(result.content))),
        contextlib.closing(make_progress(sys.stderr)) as progress,
    ):
        result = run_train(job, progress)
    print_line(result_line(result.content, result.uri))
    return result.uri
