"""Trainings of many cells: one run directory a cell and seed, and a table of their accuracies."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from nasi_ray.config import ComputeSettings
from nasi_ray.display.formats import format_seconds
from nasi_ray.errors import NasiRayError, SearchStoppedError, TrainingError
from nasi_ray.pool.connection import connect
from nasi_ray.pool.metrics import ExportedProgress
from nasi_ray.pool.nodes import plan_for
from nasi_ray.pool.tune import Halving, TrialResources, run_trials
from nasi_ray.progress import Progress, ProgressState, Silent
from nasi_ray.run.finish import write_results
from nasi_ray.run.identity import source_name
from nasi_ray.run.listed import read_list
from nasi_ray.run.plan import settle_uri
from nasi_ray.run.settings import refuse_other_job, settings_yaml
from nasi_ray.run.tracking import TrackConfig, Tracking
from nasi_ray.spaces import Genotype
from nasi_ray.storage import Storage, open_storage
from nasi_ray.tables.metric import Metric, Split
from nasi_ray.tables.table_file import make_table
from nasi_ray.training.images import TrainImages
from nasi_ray.training.job import run_train
from nasi_ray.training.plan import find_compute, read_images
from nasi_ray.training.result import TrainResult, read_result
from nasi_ray.training.settings import ACCURACIES, TrainJob
from nasi_ray.training.tracked import send_training

Results = Mapping[int, TrainResult]
"""Position of a trial -> its result."""

_RESULT = re.compile(r"(cells/\d+-seed(\d+))/result\.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class CellsResult:
    """Accuracies of many cells."""

    uri: str
    """The run directory; the table is ``accuracies.parquet`` in it."""
    num_trained: int
    failures: Mapping[str, str]
    """Run directory of a training -> why it failed."""


def run_cells(job: TrainJob, progress: Progress) -> CellsResult:
    """Train every cell of a list with every seed, or go on with what is missing.

    Args:
        job: Settings, with ``genotypes``.
        progress: Display; not closed here.

    Returns:
        What was trained; the table is written, also after a stop, with what earlier commands have
        trained. A training that fails does not stop the others.

    Raises:
        TrainingError: If every training failed, and would fail again; the first reason is named.
        NasiRayError: For every failure that a user can cause and that concerns all trainings.
    """
    storage = open_storage(settle_uri(job.run_uri))
    refuse_other_job(storage, "train")
    # Trials run in other folders.
    uri = storage.uri
    test_data = source_name(job.images.test_data) if job.images.test_data else ""
    images_at = dataclasses.replace(
        job.images, data=source_name(job.images.data), test_data=test_data
    )
    job_at = dataclasses.replace(job, images=images_at)
    jobs = trials(job_at, uri)
    earlier = _earlier(job_at, storage, {one.out for one in jobs})
    done = {i: r for i, one in enumerate(jobs) if (r := _result_of(one)) is not None}
    missing = [i for i in range(len(jobs)) if i not in done]
    if done:
        progress.message(f"{len(done)} of {len(jobs)} trainings are done already")
    with Tracking(job.tracking, progress) as tracking:
        runner = _Trials(jobs, done, progress, tracking)
        _run_missing(job, runner, missing, storage, earlier)
    failures = runner.failures
    is_final = not any(error.is_retryable for error in failures.values())
    if failures and is_final and not runner.done:
        first = next(iter(failures.values()))
        raise TrainingError(f"every training failed, the first one with: {first}") from first
    told = {at: str(error) for at, error in failures.items()}
    return CellsResult(uri=uri, num_trained=len(runner.done), failures=told)


def _run_missing(
    job: TrainJob,
    runner: _Trials,
    missing: Sequence[int],
    storage: Storage,
    earlier: Sequence[TrainResult],
) -> None:
    jobs, progress = runner.jobs, runner.progress
    for position in runner.done:
        runner.send(position)
    if missing:
        storage.write("settings.yaml", settings_yaml(job, "train", out=storage.uri))
        images = read_images(job, job.training, progress)
        try:
            _run(job, runner, missing, images)
        except (KeyboardInterrupt, SearchStoppedError):
            _write_table(storage, job, [*earlier, *runner.done.values()])
            raise SearchStoppedError(
                f"stopped with {len(runner.done)} of {len(jobs)} cells trained; run the same "
                "command again to continue"
            ) from None
    _write_table(storage, job, [*earlier, *runner.done.values()])


def trials(job: TrainJob, uri: str) -> list[TrainJob]:
    """The trainings of a list, seed after seed, each in this process.

    Raises:
        ConfigError, DataError: If the list cannot be read.
    """
    cells = list(read_list(str(job.subject.genotypes)))
    return [
        _trial(job, cell, seed, f"{uri.rstrip('/')}/cells/{number:04d}-seed{seed}")
        for seed in dict.fromkeys(job.seeds or (job.training.seed,))
        for number, cell in enumerate(cells)
    ]


def _trial(job: TrainJob, cell: Genotype, seed: int, out: str) -> TrainJob:
    return dataclasses.replace(
        job,
        subject=dataclasses.replace(job.subject, genotypes=None, genotype=cell.to_json()),
        training=dataclasses.replace(job.training, seed=seed),
        compute=job.compute.alone(),
        tracking=TrackConfig(),
        seeds=(),
        out=out,
    )


def _earlier(job: TrainJob, storage: Storage, asked: Collection[str]) -> list[TrainResult]:
    """What earlier commands have trained, and this one does not ask for: other seeds, say.

    Raises:
        RecordConflictError: If it was trained with other settings.
    """
    found = []
    for match in filter(None, map(_RESULT.fullmatch, storage.list("cells/"))):
        out = f"{storage.uri.rstrip('/')}/{match[1]}"
        if out not in asked and (result := read_result(open_storage(out))) is not None:
            one = _trial(job, _cell_of(result), int(match[2]), out)
            found.append(_result_of(one) or result)
    return found


def _cell_of(result: TrainResult) -> Genotype:
    return Genotype.from_dict(result.content["genotype"])


def _result_of(job: TrainJob) -> TrainResult | None:
    storage = open_storage(job.out)
    # Answers, or refuses what was trained with other settings.
    return run_train(job, Silent()) if read_result(storage) is not None else None


class _Trials:
    """What is done, and what is said of it."""

    def __init__(
        self,
        jobs: Sequence[TrainJob],
        done: Mapping[int, TrainResult],
        progress: Progress,
        tracking: Tracking,
    ) -> None:
        self.jobs, self.done, self.progress = jobs, dict(done), progress
        self._tracking = tracking
        self.failures: dict[str, NasiRayError] = {}
        self._begin, self._num_before = time.monotonic(), len(done)

    def send(self, position: int) -> None:
        """Send a training that has ended to the services that the job names."""
        job = self.jobs[position]
        group = job.out.rsplit("/", 3)[-3]
        send_training(self._tracking, job, job.out, group=group)

    def end(self, position: int, failure: NasiRayError | None) -> None:
        """A trial has ended."""
        job = self.jobs[position]
        result = read_result(open_storage(job.out)) if failure is None else None
        if result is None:
            self.failures[job.out] = failure or TrainingError("it left no result")
            self.progress.message(f"{job.out} failed: {self.failures[job.out]}")
        else:
            self.done[position] = result
            self.send(position)
            left = len(self.jobs) - len(self.done) - len(self.failures)
            pace = (time.monotonic() - self._begin) / (len(self.done) - self._num_before)
            wait = f", about {format_seconds(left * pace)} left" if left else ""
            self.progress.message(
                f"{len(self.done)} of {len(self.jobs)} trained{wait}; "
                f"{job.out}: top-1 {result.top1:.2f} %"
            )
        self.progress.update(
            ProgressState(
                num_done=len(self.done),
                num_total=len(self.jobs),
                num_failed=len(self.failures),
                unit="trainings",
                title="",
            )
        )


def _run(job: TrainJob, runner: _Trials, missing: Sequence[int], images: TrainImages) -> None:
    if job.compute.num_workers == 0:
        for position in missing:
            try:
                _train_one(position, runner.jobs, images)
            except SearchStoppedError:
                raise
            except NasiRayError as error:
                runner.end(position, error)
            else:
                runner.end(position, None)
        return
    on_workers(job, _train_one, (list(runner.jobs), images), missing, runner)


class Ends(Protocol):
    """Takes note of trainings that end."""

    progress: Progress

    def end(self, position: int, failure: NasiRayError | None) -> None:
        """A training has ended, or failed; see ``run_trials``."""


def on_workers(
    job: TrainJob,
    function: Callable[..., Any],
    shared: Sequence[Any],
    positions: Sequence[int],
    ends: Ends,
    halving: Halving | None = None,
) -> None:
    """Run trainings of one process each as trials of Ray Tune; see ``run_trials``.

    Args:
        job: Its ``compute`` says where, and how many run at once.
        function: Of a trial.
        shared: Its arguments.
        positions: What tells trials apart.
        ends: Called when one ends; its display also exports what it shows.
        halving: Whether trials are stopped early.
    """
    compute = job.compute
    # With one worker a trial, whatever the number at once.
    device, _ = find_compute(
        dataclasses.replace(job, compute=dataclasses.replace(compute, num_workers=1))
    )
    asked = ComputeSettings(
        num_workers=compute.num_workers,
        threads_per_worker=compute.threads_per_worker,
        gpus_per_worker=compute.gpus_per_worker if device == "cuda" else 0.0,
        label_selector=compute.label_selector,
        address=compute.address,
    )
    with connect(compute.address, asked):
        plan = plan_for(asked)
        ends.progress = ExportedProgress(ends.progress)
        resources = TrialResources(
            cpus=plan.cpus_per_worker,
            gpus=plan.gpus_per_worker,
            labels=plan.labels,
            at_once=None if compute.num_workers == "auto" else compute.num_workers,
            max_failures=compute.max_failures,
        )
        run_trials(function, shared, positions, resources, ends.end, halving)


def _train_one(position: int, jobs: Sequence[TrainJob], images: TrainImages) -> None:
    run_train(jobs[position], Silent(), images=images, others_follow=True)


def _write_table(storage: Storage, job: TrainJob, results: Sequence[TrainResult]) -> None:
    if not results:
        return
    by_cell: dict[str, list[Mapping[str, Any]]] = {}
    for result in sorted(results, key=_place):
        by_cell.setdefault(_cell_of(result).to_json(), []).append(result.content)
    rows = list(by_cell.values())
    first = rows[0][0]
    dataset = _dataset(job.images.data)
    # Held-out training images are what tables call the validation set.
    is_test = "holdout" not in first and not first.get("test_split", "test").startswith("val")
    split: Split = "test" if is_test else "valid"
    column = f"{dataset}_{split}_accuracy_{first['epochs']}ep"
    metric = Metric(
        column=column,
        dataset=dataset,
        split=split,
        epochs=int(first["epochs"]),
        unit="percent",
        trained_on=f"{first['num_train_images']} of the training images",
        num_trials=None,
    )
    table = make_table(
        {
            "genotype": (pa.array(list(by_cell)), None),
            column: (pa.array([[one["top1"] for one in row] for row in rows]), metric),
            "seeds": (pa.array([[one["seed"] for one in row] for row in rows]), None),
            "parameters": (pa.array([row[0]["parameters"] for row in rows]), None),
            "init_channels": (pa.array([row[0]["init_channels"] for row in rows]), None),
            "recipe": (pa.array([row[0]["recipe"] for row in rows]), None),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_results(storage, {ACCURACIES: sink.getvalue().to_pybytes()}, label="trainings")


def _place(result: TrainResult) -> tuple[int, int]:
    """Number of the cell in the list, and seed."""
    number, seed = result.uri.rpartition("/")[2].split("-seed")
    return int(number), int(seed)


def _dataset(source: str) -> str:
    """A data set's name in columns: ``cifar10`` of ``../data/CIFAR-10/``."""
    words = re.sub(r"[^a-z0-9]+", "", source.rstrip("/").rpartition("/")[2].lower())
    return words if words[:1].isalpha() else f"data{words}"
