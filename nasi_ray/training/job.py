"""The training job: from settings to a trained model in a run directory."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from nasi_ray.config import ComputeSettings
from nasi_ray.errors import ConfigError, DataError, NasiRayError, SearchStoppedError
from nasi_ray.pool.connection import connect
from nasi_ray.pool.nodes import plan_for
from nasi_ray.pool.train import WorkerGroup, run_on_workers
from nasi_ray.progress import Progress
from nasi_ray.records import IdentityValue, read_identity, refuse_other_settings
from nasi_ray.records.identity import establish
from nasi_ray.run.extensions import added, make_with_added
from nasi_ray.run.finish import to_json, write_results
from nasi_ray.run.identity import SOURCE_NAME, DataSource, find_source
from nasi_ray.run.plan import settle_uri
from nasi_ray.run.settings import refuse_other_job, settings_yaml
from nasi_ray.run.subject import read_subject
from nasi_ray.spaces import TabularArchitecture
from nasi_ray.storage import Storage, open_storage
from nasi_ray.training import checkpoints
from nasi_ray.training.images import TrainImages
from nasi_ray.training.link import LocalLink
from nasi_ray.training.loader import refuse_bad_transforms
from nasi_ray.training.loop import AfterEpoch, TrainPlan, train
from nasi_ray.training.memory import refuse_too_large
from nasi_ray.training.metrics import metrics_files
from nasi_ray.training.model import MODEL_JSON, WEIGHTS, model_files
from nasi_ray.training.optimization import refuse_bad_optimizer
from nasi_ray.training.plan import (
    find_compute,
    moving_average_note,
    plan_training,
    read_images,
    refuse_bad_batch,
    widest_within,
)
from nasi_ray.training.recipes import TrainingConfig, training_settings
from nasi_ray.training.result import TrainResult, make_result, read_result
from nasi_ray.training.settings import TrainJob, options_without_effect, refuse_sync_bn
from nasi_ray.training.tracked import tracked
from nasi_ray.training.world import Link, World

_STOPPED = "stopped; run the same command again to continue from the checkpoint"

TRAINING_VERSION = 2
"""Increased when the same settings give another model than before."""


class _Kind:
    """What ``identity.json`` says of a training's records, its checkpoints."""

    parameters: Mapping[str, str | int] = {"rows": "checkpoints"}


def run_train(
    job: TrainJob,
    progress: Progress,
    *,
    images: TrainImages | None = None,
    after_epoch: AfterEpoch | None = None,
    others_follow: bool = False,
) -> TrainResult:
    """Train, continue a training, or answer from a finished one.

    Args:
        job: Settings.
        progress: Display; not closed here.
        images: What ``read_images`` returned for these settings; None: they are read here.
        after_epoch: See ``loop.train``; only without workers.
        others_follow: Whether other trainings are to follow in this process, so that a stop that
            comes too late for this one is an error at its end.

    Returns:
        The result; model, metrics and checkpoints are in the run directory (docs/training.md).

    Raises:
        NasiRayError: For every failure that a user can cause; what was trained is kept up to the
            latest checkpoint.
    """
    with tracked(job, settle_uri(job.run_uri), progress) as display:
        return _run_train(job, display, images, after_epoch, others_follow)


def _run_train(
    job: TrainJob,
    progress: Progress,
    images: TrainImages | None,
    after_epoch: AfterEpoch | None,
    others_follow: bool,
) -> TrainResult:
    start = time.perf_counter()
    space, architecture = read_subject(
        job.subject.genotype, job.subject.space, job.subject.architecture
    )
    refuse_bad_optimizer(job.training)
    refuse_bad_transforms(job.training)
    for line in options_without_effect(job):
        progress.message(f"note: {line}")
    storage = open_storage(settle_uri(job.run_uri))
    refuse_other_job(storage, "train")
    training = _resolved(job, storage)
    if job.subject.max_madds or job.subject.max_params:
        training = widest_within(training, space, architecture, job.subject)
    sources = _sources(job)
    settings = _identity(training, space, architecture)
    if (found := _finished(storage, settings, sources)) is not None:
        return found
    device, num_workers = find_compute(job)
    if num_workers > 1 and job.compute.gpus_per_worker < 1 and device == "cuda":
        raise ConfigError(
            f"gpus_per_worker is {job.compute.gpus_per_worker:g}, and the {num_workers} workers of "
            "one training need a GPU each; leave it out, or train with --num-workers 1"
        )
    refuse_bad_batch(training, num_workers)
    refuse_sync_bn(training, device)
    images = read_images(job, training, progress) if images is None else images
    plan = plan_training(job, training, storage, images, (space, architecture), device)
    if (note := moving_average_note(training, plan.num_steps)) is not None:
        progress.message(f"note: {note}")
    if device == "cpu":
        refuse_too_large(plan.model, training, plan.micro_batch_size, torch.device(device))
    identity = {**settings, **images.identity}
    refuse_other_settings(storage, identity, _Kind())
    with storage.lock():
        establish(storage, identity, _Kind())
        storage.write(SOURCE_NAME, to_json({"sources": [dataclasses.asdict(s) for s in sources]}))
        storage.write("settings.yaml", settings_yaml(job, "train", out=storage.uri))
        is_stopping = False
        if checkpoints.steps_of(storage)[-1:] != [plan.num_steps]:
            is_stopping = _train(job, plan, num_workers, progress, after_epoch, others_follow)
        result = _conclude(job, plan, storage, time.perf_counter() - start)
    if is_stopping and others_follow:
        raise SearchStoppedError(_STOPPED)
    return result


def _resolved(job: TrainJob, storage: Storage) -> TrainingConfig:
    """The recipe, with numbers in place of what only the network or an earlier run knows."""
    training = job.training
    if training.micro_batch_size != "auto":
        return training
    stored = read_identity(storage)
    before = None if stored is None else stored[0].get("micro_batch_size")
    if checkpoints.steps_of(storage) and isinstance(before, int):
        return dataclasses.replace(training, micro_batch_size=before)
    num_workers = find_compute(job)[1]
    share = training.batch_size // max(1, num_workers)
    return dataclasses.replace(training, micro_batch_size=max(1, share))


def _sources(job: TrainJob) -> list[DataSource]:
    """Where both sets are."""
    given = (job.images.data, job.images.test_data or job.images.data)
    return [find_source(data) for data in given]


def _identity(
    training: TrainingConfig, space: str, architecture: TabularArchitecture
) -> dict[str, IdentityValue]:
    """What distinguishes a training from others, but for its images."""
    return {
        **training_settings(training),
        "space": space,
        "architecture": json.dumps(architecture.fields(), sort_keys=True),
        "training_version": TRAINING_VERSION,
        "torch": ".".join(torch.__version__.split(".")[:2]),
    }


def _finished(
    storage: Storage, settings: Mapping[str, IdentityValue], sources: list[DataSource]
) -> TrainResult | None:
    """The result of this very training if it is done, without reading any image."""
    stored = read_identity(storage)
    if stored is None:
        return None
    known = {name: stored[0].get(name) for name in ("data", "test_data")}
    refuse_other_settings(storage, {**settings, **known}, _Kind())
    try:
        before = [DataSource(**s) for s in json.loads(storage.read(SOURCE_NAME))["sources"]]
    except (FileNotFoundError, ValueError, TypeError, KeyError, RecursionError):
        return None
    is_same = all(map(DataSource.may_be, sources, before))
    if not is_same or not {WEIGHTS, MODEL_JSON} <= set(storage.list("model")):
        return None
    return read_result(storage)


def _train(
    job: TrainJob,
    plan: TrainPlan,
    num_workers: int,
    progress: Progress,
    after_epoch: AfterEpoch | None,
    others_follow: bool,
) -> bool:
    """Train; whether a stop came too late for it.

    Raises:
        SearchStoppedError: If one came in time.
    """
    if num_workers > 0:
        _train_on_ray(job, plan, num_workers, progress)
        return False
    link = LocalLink(progress)
    try:
        with _explained_memory(plan), link.listening():
            world = World(rank=0, size=1, device=torch.device(plan.device))
            train(plan, world, link, after_epoch)
    except Exception as error:
        # What ``after_epoch`` raises would hide the stop.
        if link.is_stopping and others_follow and not isinstance(error, NasiRayError):
            raise SearchStoppedError(_STOPPED) from error
        raise
    reached = checkpoints.steps_of(open_storage(plan.uri))[-1:]
    if link.is_stopping and reached != [plan.num_steps]:
        raise SearchStoppedError(_STOPPED)
    return link.is_stopping


def _train_on_ray(job: TrainJob, plan: TrainPlan, num_workers: int, progress: Progress) -> None:
    compute = job.compute
    asked = ComputeSettings(
        num_workers=num_workers,
        threads_per_worker=compute.threads_per_worker,
        gpus_per_worker=compute.gpus_per_worker if plan.device == "cuda" else 0.0,
        capacity_timeout_s=compute.capacity_timeout_s,
        label_selector=compute.label_selector,
        address=compute.address,
    )
    progress.message("connecting to Ray")
    with connect(compute.address, asked):
        workers = plan_for(asked)
        group = WorkerGroup(
            num_workers=num_workers,
            min_workers=compute.min_workers or num_workers,
            threads=workers.cpus_per_worker,
            gpus=workers.gpus_per_worker,
            labels=workers.labels,
            max_failures=compute.max_failures,
            capacity_timeout_s=workers.capacity_timeout_s,
        )
        run_on_workers(train_in_worker, (added(), plan), group, progress)


def train_in_worker(
    rank: int, size: int, link: Link, extensions: Mapping[str, Mapping[str, Any]], plan: TrainPlan
) -> None:
    """What every worker runs."""
    make_with_added(extensions, lambda: None)
    storage = open_storage(plan.uri)
    if read_identity(storage) is None:
        raise ConfigError(
            f"a worker cannot see {plan.uri}; give an --out that all nodes share, such as "
            "s3://bucket/prefix"
        )
    device = torch.device("cpu")
    if plan.device == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    with _explained_memory(plan):
        train(plan, World(rank=rank, size=size, device=device), link)


@contextlib.contextmanager
def _explained_memory(plan: TrainPlan) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ConfigError(
            f"C={plan.model.init_channels} with {plan.micro_batch_size} images at a time is too "
            f"large for the memory ({' '.join(str(error).split())[:100]}); give a smaller "
            "--micro-batch-size, or lower --init-channels"
        ) from error


def _conclude(job: TrainJob, plan: TrainPlan, storage: Storage, seconds: float) -> TrainResult:
    data = checkpoints.latest(storage)
    if data is None:
        raise DataError(
            f"the checkpoints in {storage.uri} are gone; run the same command to train again"
        )
    state = checkpoints.read(data, storage.uri)
    rows = state["history"]
    content = to_json(make_result(job.recipe, job.images.data, plan, rows, seconds))
    result = TrainResult(content=json.loads(content), uri=storage.uri)
    files = {
        **model_files(state["model"] if state["ema"] is None else state["ema"], plan.model),
        **metrics_files(rows),
        "result.json": content,  # last: with it the training is done
    }
    write_results(storage, files, label="checkpoints", result=result)
    return result
