"""The Ray side of the worker pool: carries out the scheduler's decisions and reports events."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from nasi_ray.errors import (
    ClusterError,
    NasiRayError,
    NoCapacityError,
    UnequalResultsError,
    WorkerError,
)
from nasi_ray.pool import nodes as cluster
from nasi_ray.pool.connection import dead_process
from nasi_ray.pool.metrics import PoolMetrics
from nasi_ray.pool.nodes import WorkerPlan
from nasi_ray.pool.reasons import loss_reason
from nasi_ray.pool.scheduler.decisions import (
    Decision,
    FailSample,
    Finished,
    GiveUp,
    OutOfCapacity,
    Quarantine,
    RetireWorker,
    StartWorker,
    SubmitCall,
)
from nasi_ray.pool.scheduler.policy import PoolPolicy
from nasi_ray.pool.scheduler.scheduler import Scheduler
from nasi_ray.pool.worker import Worker, worker_options
from nasi_ray.runner import RunnerStatus

R = TypeVar("R")
_WAIT_S = 0.5
_TICK_S = 1.0
_REPLAN_S = 3.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Actor:
    handle: Any
    node: str | None = None


@dataclass(frozen=True, slots=True)
class _Awaited:
    kind: Literal["hello", "prepare", "evaluate"]
    worker: int
    call: int = -1


class RayRunner(Generic[R]):
    """Evaluates samples on Ray actors, and recovers when actors are lost.

    Each worker calls ``factory(*args)`` once; it returns the function that maps a sample index to
    its result. Ray must be connected (``connection.connect``) while a runner is used.

    Args:
        factory: Makes the evaluating function. The workers must be able to import it, unless it is
            pickled by value (defined in ``__main__`` or inside a function).
        args: Its arguments, put in the object store once (ObjectRefs are passed on). Workers read
            arrays there without a copy, so these are read-only.
        plan: How many workers, and what each one needs (``nodes.plan_for``).
        on_failed: Makes the result of a sample that failed for good, from its index and, in one
            line, the reason.
        same: Whether two results of one sample are equal; None: second results are not checked.
        policy: The pool's limits; None: the defaults, with the plan's capacity timeout.
    """

    def __init__(
        self,
        factory: Callable[..., Callable[[int], R]],
        args: Sequence[Any],
        *,
        plan: WorkerPlan,
        on_failed: Callable[[int, str], R],
        same: Callable[[R, R], bool] | None = None,
        policy: PoolPolicy | None = None,
    ) -> None:
        self._plan = plan
        self._on_failed = on_failed
        self._given = [
            arg if isinstance(arg, ray.ObjectRef) else ray.put(arg) for arg in (factory, *args)
        ]
        self._scheduler: Scheduler[R] = Scheduler(
            policy or PoolPolicy(capacity_timeout_s=plan.capacity_timeout_s), same
        )
        self._actor_class = ray.remote(Worker).options(
            **worker_options(plan.cpus_per_worker, plan.gpus_per_worker, plan.labels)
        )
        self._actors: dict[int, _Actor] = {}
        self._awaited: dict[Any, _Awaited] = {}
        self._metrics = PoolMetrics()
        self._target = plan.num_workers
        self._num_samples = 0
        self._tick_at = 0.0
        self._replan_at = time.monotonic() + _REPLAN_S
        self._is_closed = False

    def run(self, indices: Sequence[int]) -> Iterator[Sequence[R]]:
        """Evaluate every index once; one run at a time.

        Yields:
            Results in order of arrival; an empty batch about every half second without any.

        Raises:
            NoCapacityError: If there was no worker for the capacity timeout.
            WorkerError: If workers or samples keep failing.
            UnequalResultsError: If a sample evaluated twice gave two results.
            NasiRayError: Any that the factory raised.
        """
        if self._is_closed:
            raise RuntimeError("the runner is closed")
        self._scheduler.add(indices)
        is_finished = has_begun = False
        try:
            while not is_finished:
                batch: list[R] = []
                try:
                    if has_begun:
                        self._collect(batch)
                    has_begun = True
                    is_finished = self._decide(batch)
                except NasiRayError:
                    # Results that came together with the error are still good.
                    if batch:
                        yield batch
                    raise
                self._num_samples += len(batch)
                if batch or not is_finished:
                    yield batch
        finally:
            self._scheduler.abandon()
            self._report()

    def status(self) -> RunnerStatus:
        """The workers as they are now."""
        return RunnerStatus(
            num_alive=self._scheduler.num_ready,
            num_starting=self._scheduler.num_starting,
            num_deaths=self._scheduler.num_deaths,
            num_requeued=self._scheduler.num_requeued,
        )

    def close(self) -> None:
        """Kill the workers at once; calling it twice does no harm."""
        self._is_closed = True
        for worker in list(self._actors):
            self._kill(worker)
        self._awaited.clear()

    def _tick(self) -> None:
        now = time.monotonic()
        if now < self._tick_at:
            return
        self._tick_at = now + _TICK_S
        if self._plan.is_auto and now >= self._replan_at:
            self._replan_at = now + _REPLAN_S
            self._target = max(1, cluster.num_workers_that_fit(self._plan))
        nodes = cluster.draining_nodes()
        draining = {w for w, actor in self._actors.items() if actor.node in nodes}
        self._scheduler.tick(self._target, draining)
        self._report()

    def _report(self) -> None:
        self._metrics.report(
            samples=self._num_samples,
            requeued=self._scheduler.num_requeued,
            deaths=self._scheduler.num_deaths,
            live=self._scheduler.num_ready,
            target=self._target,
        )

    def _decide(self, batch: list[R]) -> bool:
        """Carry out the scheduler's decisions; returns whether the run is finished."""
        _check_ray()
        self._tick()
        decisions = self._scheduler.decide(time.monotonic())
        self._carry_out(decisions, batch)
        return any(isinstance(decision, Finished) for decision in decisions)

    def _carry_out(self, decisions: Sequence[Decision], batch: list[R]) -> None:
        for decision in decisions:
            match decision:
                case StartWorker(worker):
                    self._start(worker)
                case SubmitCall(call, worker, indices):
                    ref = self._actors[worker].handle.evaluate.remote(indices)
                    self._awaited[ref] = _Awaited("evaluate", worker, call)
                case RetireWorker(worker):
                    self._kill(worker)
                case FailSample(index, reason):
                    logger.warning("sample %d failed: %s", index, reason)
                    batch.append(self._on_failed(index, reason))
                case Quarantine():
                    logger.warning("%s", decision)
                case GiveUp(reason, is_contradiction):
                    raise (UnequalResultsError if is_contradiction else WorkerError)(reason)
                case OutOfCapacity(waited_s):
                    raise NoCapacityError(self._no_capacity(waited_s))
                case Finished():
                    pass

    def _no_capacity(self, waited_s: float) -> str:
        nodes = cluster.describe_nodes(self._plan.labels)
        return (
            f"no worker ({self._plan.request} each) could be started in {waited_s:.0f} s; the "
            f"cluster has {nodes}: free resources, add a node, or raise capacity_timeout_s"
        )

    def _start(self, worker: int) -> None:
        handle = self._actor_class.remote()
        self._actors[worker] = _Actor(handle)
        self._awaited[handle.hello.remote()] = _Awaited("hello", worker)
        self._awaited[handle.prepare.remote(*self._given)] = _Awaited("prepare", worker)

    def _kill(self, worker: int) -> None:
        actor = self._actors.pop(worker, None)
        if actor is None:
            return
        for ref in [ref for ref, awaited in self._awaited.items() if awaited.worker == worker]:
            del self._awaited[ref]
        with contextlib.suppress(Exception):
            ray.kill(actor.handle)

    def _collect(self, batch: list[R]) -> None:
        """Wait at most half a second for events, report them, and add results to the batch."""
        refs = list(self._awaited)
        if not refs:
            time.sleep(_WAIT_S)
            return
        done, _ = ray.wait(refs, num_returns=1, timeout=_WAIT_S)
        _check_ray()
        if done and len(refs) > 1:
            done, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        for ref in done:
            awaited = self._awaited.pop(ref, None)
            if awaited is not None:
                batch.extend(self._receive(ref, awaited))

    def _receive(self, ref: Any, awaited: _Awaited) -> list[R]:
        try:
            value = ray.get(ref)
        except RayTaskError as error:
            self._raised(awaited, error)
        except RayError as error:
            self._lost(awaited.worker, error)
        else:
            return self._succeeded(awaited, value)
        return []

    def _succeeded(self, awaited: _Awaited, value: Any) -> list[R]:
        if awaited.kind == "hello":
            self._actors[awaited.worker].node, device = value
            self._scheduler.placed(awaited.worker, device)
        elif awaited.kind == "prepare":
            self._scheduler.ready(awaited.worker)
        else:
            results, errors, seconds = value
            now = time.monotonic()
            return self._scheduler.call_done(awaited.call, results, errors, seconds, now)
        return []

    def _raised(self, awaited: _Awaited, error: RayTaskError) -> None:
        if awaited.kind == "evaluate":
            self._scheduler.call_failed(awaited.call, loss_reason(error), time.monotonic())
            return
        if isinstance(error.cause, NasiRayError):
            raise error.cause
        self._lost(awaited.worker, error)

    def _lost(self, worker: int, error: RayError) -> None:
        actor = self._actors.get(worker)
        is_preempted = isinstance(error, RayActorError) and error.preempted
        if actor is not None and actor.node in cluster.draining_nodes():
            is_preempted = True
        reason = loss_reason(error)
        logger.info("worker %d lost: %s", worker, reason)
        self._kill(worker)
        self._scheduler.lost(worker, reason, preempted=is_preempted)


def _check_ray() -> None:
    # What comes of a call then, Ray decides, which may end this process.
    if dead := dead_process():
        raise ClusterError(
            f"Ray's {dead} on this machine has died (killed, or out of memory?); what is stored is "
            "kept: run the same command again to continue"
        )
