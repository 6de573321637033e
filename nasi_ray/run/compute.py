"""What jobs that evaluate share: images, device, Ray or this process, and what goes wrong there."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Literal, Protocol, TypeVar

import torch

from nasi_ray.config import WorkerConfig
from nasi_ray.data import ImageSet, load_images
from nasi_ray.device import resolve_device
from nasi_ray.errors import ConfigError
from nasi_ray.pool.connection import connect
from nasi_ray.pool.cost import CostMeter
from nasi_ray.pool.metering import MeteredRunner
from nasi_ray.pool.nodes import WorkerPlan, plan_for
from nasi_ray.pool.ray_runner import RayRunner
from nasi_ray.progress import Progress
from nasi_ray.records import Row, read_identity
from nasi_ray.run.identity import data_source
from nasi_ray.runner import InProcessRunner, Runner
from nasi_ray.storage import Storage

R = TypeVar("R", bound=Row)
Device = Literal["auto", "cpu", "cuda"]


class Evaluation(Protocol):
    """What a job says of where it evaluates."""

    @property
    def workers(self) -> WorkerConfig:
        """Who evaluates."""

    @property
    def address(self) -> str | None:
        """Of a Ray cluster."""

    @property
    def price_list(self) -> str | None:
        """Prices of its nodes."""


def load(data: str, image_size: int, progress: Progress) -> ImageSet | None:
    """Decode the images of ``data``; None for random data."""
    if data == "random":
        return None
    start = time.perf_counter()
    images = _decode(data, image_size, data_source(data)["stamp"])
    seconds = time.perf_counter() - start
    progress.message(f"{len(images)} images of {data} decoded in {seconds:.1f} s")
    return images


@lru_cache(maxsize=1)
def _decode(data: str, image_size: int, stamp: str) -> ImageSet:
    """The images, kept for the next run of the same process; ``stamp`` tells of a change."""
    return load_images(data, image_size=image_size)


def settle_device(
    device: Device, workers: WorkerConfig, storage: Storage
) -> tuple[Device, WorkerConfig]:
    """Settle ``auto`` where the records have, and hold no GPUs for a run on CPUs."""
    stored = read_identity(storage)
    if device == "auto" and stored is not None and stored[0].get("device") in ("cpu", "cuda"):
        device = stored[0]["device"]
    if device == "cpu" and workers.gpus_per_worker == "auto":
        workers = dataclasses.replace(workers, gpus_per_worker=0.0)
    return device, workers


def connect_device(
    job: Evaluation, device: Device, stack: contextlib.ExitStack, progress: Progress
) -> tuple[str, WorkerPlan | None]:
    """Connect to Ray if it is needed; returns the device, and the workers (None: no Ray)."""
    if job.workers.num_workers == 0:
        found = "cuda" if torch.cuda.is_available() else "cpu"
        found = device if device != "auto" else found
        resolve_device(found)
        return found, None
    progress.message("connecting to Ray")
    stack.enter_context(connect(job.address, job.workers))
    plan = plan_for(job.workers)
    if device == "auto":
        device = "cuda" if plan.gpus_per_worker > 0 else "cpu"
    return device, plan


@contextlib.contextmanager
def running(
    job: Evaluation,
    factory: Callable[..., Callable[[int], R]],
    args: Sequence[Any],
    *,
    plan: WorkerPlan | None,
    on_failed: Callable[[int, str], R],
    is_equal: Callable[[R, R], bool],
    noun: str,
    progress: Progress,
    meter: CostMeter,
) -> Iterator[Runner[R]]:
    """A runner of ``factory(*args)`` on Ray, or in this process if there is no plan.

    Args:
        job: Where to evaluate.
        factory: Makes the evaluating function.
        args: Its arguments.
        plan: The workers; None: this process evaluates.
        on_failed: Index and reason -> the record of what no evaluation came to an end of.
        is_equal: Whether two evaluations of an index agree bit for bit.
        noun: What messages call a record.
        progress: Display.
        meter: Told of the nodes where the job has a price list.
    """
    if plan is None:
        with memory_told():
            evaluate = factory(*args)
        yield InProcessRunner(memory_told()(evaluate))
        return
    runner = RayRunner(
        factory,
        args,
        plan=plan,
        on_failed=on_failed,
        same=partial(is_same, progress, noun, is_equal),
    )
    try:
        yield MeteredRunner(runner, meter) if job.price_list else runner
    finally:
        runner.close()


def is_same(
    progress: Progress, noun: str, is_equal: Callable[[R, R], bool], first: R, second: R
) -> bool:
    """Whether a record evaluated twice came out the same; unlike devices may differ, and are told.

    The worker's name ends in what decides the bits.
    """
    if is_equal(first, second):
        return True
    kinds = [row.worker.rpartition("/")[2] for row in (first, second)]
    if kinds[0] == kinds[1]:
        return False
    progress.message(
        f"{noun} {first.index} differs between {' and '.join(kinds)}; the first is kept, and the "
        "result is the same again on one kind of device only"
    )
    return True


@contextlib.contextmanager
def memory_told() -> Iterator[None]:
    """Say what to do where memory does not suffice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_sure = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not is_sure and "can't allocate memory" not in str(error):
            raise
        raise ConfigError(
            f"out of memory ({str(error).partition(chr(10))[0].rstrip('.')}); use a smaller "
            "batch_size, image_size, number of channels or num_cells"
        ) from error


def to_json(content: Mapping[str, Any]) -> bytes:
    """A file's content; raises where a number is not finite."""
    return json.dumps(content, indent=2, allow_nan=False).encode() + b"\n"
