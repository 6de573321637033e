"""Finalists that are trained side by side; the worse ones are stopped early.

With workers each is a trial of Ray Tune under ASHA, which decides when a trial reports. Without
workers all are trained as far as the first rung, then the better half as far as the next.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from nasi_ray.config import ComputeSettings, SampleConfig
from nasi_ray.errors import NasiRayError, SearchStoppedError, TrainingError
from nasi_ray.finalists.cells import Finalist
from nasi_ray.finalists.outcome import Outcome
from nasi_ray.pool.tune import Halving
from nasi_ray.progress import Progress, ProgressState, Silent
from nasi_ray.run.extensions import added, make_with_added
from nasi_ray.run.identity import digest_of, source_name
from nasi_ray.run.tracking import Tracking
from nasi_ray.storage import open_storage
from nasi_ray.training.cells import on_workers
from nasi_ray.training.images import TrainImages
from nasi_ray.training.job import run_train
from nasi_ray.training.metrics import read_metrics
from nasi_ray.training.plan import read_images
from nasi_ray.training.result import read_result
from nasi_ray.training.settings import TrainJob, job_after_search
from nasi_ray.training.tracked import send_training

HOLDOUT = 0.2
"""Share of the training images that finalists are compared on."""
FOLDER = "finalists"
"""Of a run; a folder a recipe, and in it a run directory a cell."""


class Report(Protocol):
    """Takes an accuracy, and may end the training."""

    def __call__(self, epoch: int, value: float) -> None:
        """Epochs done (≥ 1), and validation accuracy in percent."""


class _RungReached(Exception):
    """A training has as many epochs as it is to have for now."""


def halving_of(epochs: int) -> Halving:
    """When trainings of so many epochs are stopped early: after a quarter, and after half."""
    return Halving(first=max(1, epochs // 4), most=epochs)


def train_finalists(
    cells: Sequence[Finalist],
    recipe: str,
    samples: SampleConfig,
    compute: ComputeSettings,
    uri: str,
    progress: Progress,
    tracking: Tracking,
) -> list[Outcome]:
    """Train finalists, or go on with those that are neither done nor stopped.

    Args:
        cells: What to train.
        recipe: Name of the recipe.
        samples: Of the search: the space, the data, the seed.
        compute: Of the search; one training a worker, 0 workers: one after the other, here.
        uri: Run directory of the search.
        progress: Display; not closed here.
        tracking: Who is told of each training when it ends.

    Returns:
        What became of each.

    Raises:
        SearchStoppedError: On Ctrl-C and SIGTERM; what was trained is kept.
        NasiRayError: For failures that concern all.
    """
    base = _base_job(cells[0], recipe, samples, compute, uri)
    jobs = [_job_of(cell, base, f"{uri.rstrip('/')}/{FOLDER}/{recipe}") for cell in cells]
    # Who is stopped depends on who else is there.
    mark = f"stopped-{digest_of({'cells': [cell.key for cell in cells]})}"
    trials = _Trials(jobs, mark, progress, tracking)
    if trials.missing:
        images = read_images(base, base.training, progress)
        try:
            if compute.num_workers == 0:
                _halve_here(trials, images)
            else:
                _halve_on_workers(trials, base, images)
        except (KeyboardInterrupt, SearchStoppedError):
            raise SearchStoppedError(
                f"stopped with {len(jobs) - len(trials.missing)} of {len(jobs)} finalists trained; "
                "run the same command again to continue"
            ) from None
    for position in range(len(jobs)):
        trials.send(position)
    return [trials.outcome(position) for position in range(len(jobs))]


def _base_job(
    first: Finalist, recipe: str, samples: SampleConfig, compute: ComputeSettings, uri: str
) -> TrainJob:
    """What all trainings share."""
    base = job_after_search(
        recipe,
        # Trials run in other folders.
        dataclasses.replace(samples, data=source_name(samples.data)),
        compute,
        space=samples.space,
        architecture=first.architecture.to_string(),
        out=uri,
    )
    share, workers = compute.gpus_per_worker, base.compute
    if share != "auto" and 0 < share < 1:
        workers = dataclasses.replace(workers, gpus_per_worker=share)
    training = dataclasses.replace(base.training, holdout=HOLDOUT)
    return dataclasses.replace(base, training=training, compute=workers)


def _job_of(cell: Finalist, base: TrainJob, folder: str) -> TrainJob:
    subject = dataclasses.replace(base.subject, architecture=cell.architecture.to_string())
    return dataclasses.replace(
        base,
        subject=subject,
        compute=base.compute.alone(),
        out=f"{folder}/{digest_of({'cell': cell.key})}",
    )


class _Trials:
    """What has become of the trainings, by what is in their run directories."""

    def __init__(
        self, jobs: Sequence[TrainJob], mark: str, progress: Progress, tracking: Tracking
    ) -> None:
        self.jobs, self.mark, self.progress, self._tracking = jobs, mark, progress, tracking
        self.failures: dict[int, str] = {}
        self.halving = halving_of(jobs[0].training.epochs)

    def is_done(self, position: int) -> bool:
        """Whether it was trained to the end."""
        return read_result(open_storage(self.jobs[position].out)) is not None

    def is_stopped(self, position: int) -> bool:
        """Whether it was stopped early."""
        return self.mark in open_storage(self.jobs[position].out).list("stopped-")

    @property
    def missing(self) -> list[int]:
        """Those that are neither done nor stopped; among them those that failed."""
        every = range(len(self.jobs))
        return [i for i in every if not self.is_done(i) and not self.is_stopped(i)]

    def accuracies(self, position: int) -> list[float]:
        """Validation accuracy after each epoch so far, in percent."""
        return [row["top1"] for row in read_metrics(open_storage(self.jobs[position].out))]

    def end(self, position: int, failure: NasiRayError | None) -> None:
        """A training has ended: done, failed, or else stopped early."""
        number, accuracies = position + 1, self.accuracies(position)
        if failure is None and not accuracies:
            failure = TrainingError(
                f"it left nothing in {self.jobs[position].out}; if there are several nodes, give "
                "an --out that all share, such as s3://bucket/prefix"
            )
        if failure is not None:
            self.failures[position] = str(failure)
            self.progress.message(f"finalist {number} failed: {failure}")
        elif self.is_done(position):
            self.progress.message(f"finalist {number}: {accuracies[-1]:.2f} %")
        else:
            open_storage(self.jobs[position].out).write(self.mark, b"")
            epochs = len(accuracies)
            self.progress.message(
                f"finalist {number}: {accuracies[-1]:.2f} % after {epochs} epochs, stopped"
            )
        self.send(position)
        num_total, num_failed = len(self.jobs), len(self.failures)
        state = ProgressState(
            num_done=num_total - len(self.missing),
            num_total=num_total,
            num_failed=num_failed,
            unit="finalists",
            title="",
        )
        self.progress.update(state)

    def send(self, position: int) -> None:
        """Send a training that has ended, and is not sent yet, to the services that are asked."""
        job, ended = self.jobs[position], "stopped early" if self.is_stopped(position) else ""
        if position not in self.failures:
            send_training(self._tracking, job, job.out, group=FOLDER, ended=ended)

    def outcome(self, position: int) -> Outcome:
        """What became of a training."""
        storage = open_storage(self.jobs[position].out)
        rows, is_done = read_metrics(storage), self.is_done(position)
        return Outcome(
            valid_accuracy=rows[-1]["top1"] if rows else None,
            epochs=len(rows),
            is_stopped=not is_done and position not in self.failures,
            failure=self.failures.get(position),
            seconds=sum(row["seconds"] for row in rows),
            run=storage.uri,
        )


def _halve_here(trials: _Trials, images: TrainImages) -> None:
    """Train all as far as a rung, then the better half as far as the next."""
    halving, alive = trials.halving, list(range(len(trials.jobs)))
    rung = halving.first
    while rung < halving.most:
        alive = [i for i in alive if _train_here(i, trials, images, rung)]
        # Of equal ones those with the better score.
        alive.sort(key=lambda i: (-trials.accuracies(i)[rung - 1], i))
        num_kept = -(-len(alive) // halving.factor)
        for position in sorted(alive[num_kept:]):
            if not trials.is_done(position):
                trials.end(position, None)
        alive, rung = sorted(alive[:num_kept]), rung * halving.factor
    for position in alive:
        if _train_here(position, trials, images, halving.most):
            trials.end(position, None)


def _train_here(position: int, trials: _Trials, images: TrainImages, rung: int) -> bool:
    """Train one as far as a rung; False if it fails."""

    def stop_at(row: Mapping[str, float]) -> None:
        if rung <= row["epoch"] < trials.halving.most:
            raise _RungReached

    # What another number of finalists has trained further stays as it is.
    if len(trials.accuracies(position)) < rung or rung == trials.halving.most:
        try:
            run_train(
                trials.jobs[position],
                Silent(),
                images=images,
                after_epoch=stop_at,
                others_follow=True,
            )
        except _RungReached:
            pass
        except SearchStoppedError:
            raise
        except NasiRayError as error:
            trials.end(position, error)
            return False
    return True


def _halve_on_workers(trials: _Trials, base: TrainJob, images: TrainImages) -> None:
    """Trials of Ray Tune; those that are done or stopped only repeat their reports."""
    is_over = [i not in trials.missing for i in range(len(trials.jobs))]
    order = sorted(range(len(is_over)), key=lambda i: not is_over[i])
    shared = (added(), trials.jobs, is_over, images)
    on_workers(base, _trial, shared, order, trials, trials.halving)


def _trial(
    position: int,
    extensions: Mapping[str, Mapping[str, Any]],
    jobs: Sequence[TrainJob],
    is_over: Sequence[bool],
    images: TrainImages,
    *,
    report: Report,
) -> None:
    job = jobs[position]

    def after_epoch(row: Mapping[str, float]) -> None:
        report(int(row["epoch"]), row["top1"])

    # ASHA compares with what earlier commands, or a worker that died, have measured.
    for row in read_metrics(open_storage(job.out)):
        after_epoch(row)
    if not is_over[position]:
        make_with_added(
            extensions,
            lambda: run_train(job, Silent(), images=images, after_epoch=after_epoch),
        )
