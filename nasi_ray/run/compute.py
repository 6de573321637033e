"""Where jobs evaluate: images, device, and runners on Ray or in this process.

Ray takes half a second to import, so only what connects to it imports it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from nasi_ray.config import ComputeSettings, Device
from nasi_ray.data.fitted import FittedImages, fit_lazily, is_read_lazily
from nasi_ray.data.image_set import ImageSet
from nasi_ray.data.lazy import LazyImages
from nasi_ray.data.load import decode_all
from nasi_ray.data.open import open_images
from nasi_ray.data.options import ReadOptions
from nasi_ray.device import resolve_device
from nasi_ray.errors import ConfigError
from nasi_ray.pool.cost import CostMeter
from nasi_ray.progress import Progress
from nasi_ray.records import Row
from nasi_ray.run.extensions import added, make_with_added
from nasi_ray.run.identity import SAMPLING_VERSION, DataSource
from nasi_ray.run.local_first import LocalFirstRunner, num_workers_here
from nasi_ray.run.plan import RunPlan
from nasi_ray.runner import InProcessRunner, Runner

if TYPE_CHECKING:
    from nasi_ray.pool.nodes import WorkerPlan

R = TypeVar("R", bound=Row)


ImagesKey = tuple[str, ReadOptions, int]
"""What distinguishes images: their source, what is read of it, and their size in pixels."""


class Session:
    """What the runs of a job share: one connection to Ray, made when it is first needed."""

    def __init__(
        self, progress: Progress, *, images: Mapping[ImagesKey, FittedImages | None] | None = None
    ) -> None:
        """Nothing is connected yet.

        Args:
            progress: Display.
            images: Those that are read already; no others are read then.
        """
        self.progress: Progress = progress
        self._images = images
        self.meter = CostMeter()
        self._stack = contextlib.ExitStack()
        self._is_connected = False
        self._plans: dict[ComputeSettings, WorkerPlan] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def load(self, plan: RunPlan, image_size: int) -> FittedImages | None:
        """The images of a run, decoded or found (see ``data.fitted``); None for random data.

        Raises:
            ConfigError: If the device is not available.
            DataError: If the data are missing, broken or too large.
        """
        if self._images is not None:
            return self._images[plan.data, plan.options, image_size]
        self._check_device(plan)
        if plan.source.source == "random":
            return None
        start = time.perf_counter()
        found = _open(plan.data, plan.options, plan.source, image_size)
        stored = "" if plan.stored is None else str(plan.stored.get("data"))
        lazily = is_read_lazily(found, image_size=image_size, stored=stored)
        images = _fit(found, image_size, lazily)
        seconds = time.perf_counter() - start
        read = f": {images.summary}" if images.summary else ""
        how = "decoded" if isinstance(images, ImageSet) else "found, to be decoded when needed,"
        self.progress.message(f"{len(images)} images of {plan.data} {how} in {seconds:.1f} s{read}")
        return images

    def device(self, plan: RunPlan) -> str:
        """``cpu`` or ``cuda``: what evaluates a run; connects to Ray if the run has workers.

        Raises:
            ConfigError: If the workers of a run on GPUs hold none.
            NasiRayError: If there is no cluster, or no node can ever hold a worker.
        """
        if plan.compute.num_workers == 0:
            return _device_here(plan.device)
        if self._begins_here(plan):
            return "cpu"
        workers = self._workers(plan.compute)
        if plan.device == "cuda" and not workers.gpus_per_worker:
            raise ConfigError(
                "device is cuda, but the workers hold no GPU; use --device cpu, add a node with "
                "GPUs, or give --gpus-per-worker"
            )
        if plan.device != "auto":
            return plan.device
        return "cuda" if workers.gpus_per_worker else "cpu"

    @contextlib.contextmanager
    def runner(
        self,
        plan: RunPlan,
        factory: Callable[..., Callable[[int], R]],
        args: Sequence[Any],
        *,
        on_failed: Callable[[int, str], R],
        is_equal: Callable[[R, R], bool],
        label: str,
        begin_here: bool = False,
        oldest_version: int = SAMPLING_VERSION,
    ) -> Iterator[Runner[R]]:
        """A runner of ``factory(*args)`` on Ray, or in this process if there are no workers.

        Args:
            plan: The run.
            factory: Makes the evaluating function.
            args: Its arguments.
            on_failed: Index and reason -> the record of a sample that no attempt completed.
            is_equal: Whether two evaluations of an index agree bit for bit.
            label: What messages call a record.
            begin_here: Whether this process may evaluate too, where nobody asked for workers.
            oldest_version: See ``RunPlan.refuse_other_version``.

        Raises:
            RecordConflictError: If the run's records are of another ``sampling_version``.
        """
        plan.refuse_other_version(oldest_version)

        def evaluator() -> Callable[[int], R]:
            with explain_out_of_memory():
                return explain_out_of_memory()(factory(*args))

        if plan.compute.num_workers == 0:
            yield InProcessRunner(evaluator())
            return

        def start() -> Runner[R]:
            from nasi_ray.pool.metering import MeteredRunner
            from nasi_ray.pool.ray_runner import RayRunner

            runner = RayRunner(
                make_with_added,
                (added(), factory, *args),
                plan=self._workers(plan.compute),
                on_failed=on_failed,
                same=partial(is_same, self.progress, label, is_equal),
            )
            return MeteredRunner(runner, self.meter) if plan.prices else runner

        runner: Runner[R]
        if begin_here and self._begins_here(plan):
            runner = LocalFirstRunner(
                evaluator(),
                lambda: contextlib.closing(start()),
                num_workers=num_workers_here(plan.compute.threads_per_worker),
                message=self.progress.message,
            )
        else:
            runner = start()
        with contextlib.closing(runner):
            yield runner

    def _begins_here(self, plan: RunPlan) -> bool:
        """Whether this machine's CPUs evaluate, and nobody asked for a number of workers."""
        compute = plan.compute
        is_asked_for = (
            compute.num_workers != "auto"
            or compute.gpus_per_worker not in ("auto", 0)
            or compute.address is not None
            or "RAY_ADDRESS" in os.environ
            or plan.prices is not None
        )
        has_ray = self._is_connected or ("ray" in sys.modules and _is_ray_connected())
        on_cpu = plan.device == "cpu" or (plan.device == "auto" and not torch.cuda.is_available())
        return on_cpu and not is_asked_for and not has_ray

    def connect(self, compute: ComputeSettings) -> None:
        """Connect to Ray, or start it, until the session ends.

        Raises:
            NasiRayError: As ``pool.connection.connect``.
        """
        if not self._is_connected:
            from nasi_ray.pool.connection import connect
            from nasi_ray.pool.metrics import ExportedProgress

            self.progress.message("connecting to Ray")
            self._stack.enter_context(connect(compute.address, compute))
            self._is_connected = True
            self.progress = ExportedProgress(self.progress)

    def _workers(self, compute: ComputeSettings) -> WorkerPlan:
        self.connect(compute)
        if compute not in self._plans:
            from nasi_ray.pool.nodes import plan_for

            self._plans[compute] = plan_for(compute)
        return self._plans[compute]

    def _check_device(self, plan: RunPlan) -> None:
        """Refuse GPUs that this machine lacks before data are decoded and Ray is started."""
        is_here = not (plan.compute.address or os.environ.get("RAY_ADDRESS"))
        if plan.compute.num_workers == 0 or (is_here and plan.device == "cuda"):
            _device_here(plan.device)


def _is_ray_connected() -> bool:
    from nasi_ray.pool.connection import is_connected

    return is_connected()


def _device_here(device: Device) -> str:
    found = "cuda" if torch.cuda.is_available() else "cpu"
    found = device if device != "auto" else found
    resolve_device(found)
    return found


# Both are kept for the next run of the process; ``source`` shows if the images have changed.
@lru_cache(maxsize=1)
def _open(data: str, options: ReadOptions, source: DataSource, image_size: int) -> LazyImages:
    return open_images(data, options, image_size=image_size)


@lru_cache(maxsize=1)
def _fit(images: LazyImages, image_size: int, lazily: bool) -> FittedImages:
    if lazily:
        return fit_lazily(images, image_size=image_size)
    return decode_all(images, image_size=image_size)


def is_same(
    progress: Progress, label: str, is_equal: Callable[[R, R], bool], first: R, second: R
) -> bool:
    """Whether two evaluations of a record are equal; on two kinds of device they may differ.

    The worker's name ends with the kind of its device.
    """
    if is_equal(first, second):
        return True
    kinds = [row.worker.rpartition("/")[2] for row in (first, second)]
    if kinds[0] == kinds[1]:
        return False
    progress.message(
        f"{label} {first.index} has different results on {' and '.join(kinds)}; the first is kept. "
        "Only runs on one kind of device are reproducible bit for bit"
    )
    return True


@contextlib.contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Turn a lack of memory into an error that says what to do."""
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
