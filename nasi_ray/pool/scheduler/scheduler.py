"""The state machine of the worker pool: events in, decisions out.

A sample is open until it has a result or has failed for good. Work goes out in calls of several
samples, at most ``max_in_flight`` calls per worker. When a worker is lost, the samples of its
running call become suspects: each is charged an attempt and given out again, one a call.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Generic, TypeVar

from nasi_ray.pool.scheduler.calls import Call, CallLedger
from nasi_ray.pool.scheduler.decisions import (
    Decision,
    FailSample,
    Finished,
    GiveUp,
    OutOfCapacity,
    RetireWorker,
    StartWorker,
    SubmitCall,
)
from nasi_ray.pool.scheduler.failures import CircuitBreaker, Failure
from nasi_ray.pool.scheduler.health import DeviceHealth
from nasi_ray.pool.scheduler.policy import HoldTimer, Pace, PoolPolicy, chunk_length
from nasi_ray.pool.scheduler.queue import SampleQueue
from nasi_ray.pool.scheduler.speculation import Speculation
from nasi_ray.pool.scheduler.workers import Workers, WorkerState

R = TypeVar("R")
Errors = Sequence[tuple[int, str]]


class Scheduler(Generic[R]):
    """Decides which worker evaluates what; the caller reports events and carries decisions out.

    Args:
        policy: The limits.
        same: Whether two results of one sample are equal; None: not checked.
    """

    def __init__(self, policy: PoolPolicy, same: Callable[[R, R], bool] | None = None) -> None:
        self._policy = policy
        self._same = same
        self._queue = SampleQueue(policy)
        self._workers = Workers(policy.max_in_flight)
        self._breaker = CircuitBreaker(policy.max_failures_in_row)
        self._health = DeviceHealth(policy, self._workers)
        self._calls = CallLedger(self._workers)
        self._first_results: dict[int, R] = {}
        self._pending_failures: list[FailSample] = []
        self._pending_decisions: list[Decision] = []
        self._target = 1
        self._pace = Pace(policy)
        self._speculation = Speculation(self._queue, self._workers, self._calls, self._pace)
        self._without_worker, self._stable, self._failing = HoldTimer(), HoldTimer(), HoldTimer()
        self._event, self._now = 0, 0.0
        self.num_deaths = 0
        """Workers lost, not counting those retired."""
        self.num_requeued = 0
        """Samples given out again because their worker was lost or their evaluation failed."""

    @property
    def num_ready(self) -> int:
        """Workers able to take work."""
        return self._workers.num_ready

    @property
    def num_starting(self) -> int:
        """Workers requested that do not take work yet."""
        return self._workers.num_starting

    def add(self, indices: Iterable[int]) -> None:
        """Begin a run with these samples; workers of an earlier run are kept."""
        self._queue.add(indices)
        self._breaker.reset()
        self._without_worker.reset()

    def abandon(self) -> None:
        """Drop all samples; results of calls in flight will be ignored."""
        self._queue.clear()
        self._pending_failures.clear()
        self._pending_decisions.clear()
        self._first_results.clear()

    def tick(self, target: int, draining: Container[int] = ()) -> None:
        """Set how many workers to have, and report which of them are on a draining node."""
        self._target = target
        self._workers.drain_all(draining)
        self._workers.shrink(target)

    def placed(self, worker: int, device: str = "") -> None:
        """Report that a worker's process runs on a node or GPU ("": unknown) and prepares."""
        self._health.assign(worker, device)
        self._workers.advance(worker, "placed")

    def ready(self, worker: int) -> None:
        """Report that a worker has prepared and takes work."""
        self._workers.advance(worker, "ready")

    def call_done(
        self,
        number: int,
        results: Sequence[tuple[int, R]],
        errors: Errors,
        seconds: float,
        now: float,
    ) -> list[R]:
        """Report that a call came back.

        Args:
            number: The call.
            results: Sample index and result.
            errors: Sample index and, in one line, what its evaluation raised.
            seconds: Time the worker spent on the call.
            now: The time, in seconds.

        Returns:
            The results that are the first of their sample.
        """
        if (call := self._calls.get(number)) is None:
            return []
        self._event += 1
        self._now = now
        if results:  # failures are fast, and would make calls long
            self._pace.learn(seconds, len(results) + len(errors))
        worker = self._calls.end(call, now, self._event)
        firsts = [result for index, result in results if self._accept(index, result)]
        if results:
            self._note_success(worker)
        for index, reason in errors:
            self._note_sample_failure(("sample", index), call, reason)
            self._charge(index, call, reason, is_certain=True)
        if worker is not None and errors and not results:
            self._note_useless_call(worker, call, errors)
        return firsts

    def call_failed(self, number: int, reason: str, now: float) -> None:
        """Report that a whole call failed although its worker lives (say, on sending a result)."""
        if (call := self._calls.get(number)) is not None:
            self._event += 1
            self._calls.end(call, now, self._event)
            self._charge_all(call, reason)

    def lost(self, number: int, reason: str, *, preempted: bool = False) -> None:
        """Report that a worker died, cannot be reached, or failed to prepare.

        Args:
            number: The worker.
            reason: In one line.
            preempted: Its node was taken away with notice; this counts as no failure.
        """
        worker = self._workers.remove(number)
        if worker is None:
            return
        self._event += 1
        self.num_deaths += 1
        calls = self._calls.drop(worker)
        if preempted:
            self._requeue(calls)
            return
        if not worker.is_quarantined:
            self._stable.reset()
        self._requeue(calls[1:])
        if calls:
            failure = calls[0].failure(self._event, reason)
            self._charge_all(calls[0], reason, is_death=True)
        else:
            failure = Failure(("worker", number), worker.requested_event, self._event, reason)
            self._note_failure(failure)
        self._check_device(worker, failure)

    def decide(self, now: float) -> list[Decision]:
        """Decide what to do now, in this order; call it after every batch of events."""
        self._now = now
        self._health.release(now)
        decided, self._pending_decisions = self._pending_decisions, []
        for worker in self._workers.drained():
            self._workers.remove(worker.number)
            decided.append(RetireWorker(worker.number))
        if any(isinstance(decision, GiveUp) for decision in decided):
            return decided
        if self._queue.num_open == 0:
            decided += [*self._pending_failures, Finished()]
            self._pending_failures.clear()
            return decided
        while self._workers.num_active < min(self._target, self._queue.num_open):
            decided.append(StartWorker(self._workers.request(self._event).number))
        decided.extend(self._give_out(now))
        if self._speculation.needs_spare_worker(self._target, now):
            decided.append(StartWorker(self._workers.request(self._event).number))
        waited_s = self._without_worker.update(not self._workers.num_placed, now)
        if waited_s > self._policy.capacity_timeout_s:
            decided.append(OutOfCapacity(waited_s))
        return decided

    def _give_out(self, now: float) -> list[Decision]:
        decided: list[Decision] = []
        stable_s = self._stable.update(self._workers.num_ready > 0, now)
        for depth in range(self._policy.max_in_flight):
            for worker in self._workers.with_capacity(depth) if len(self._queue) else ():
                length = chunk_length(
                    self._policy, self._pace.sample_s, len(self._queue), self._workers.num_ready
                )
                indices = self._queue.take(
                    length,
                    worker.number,
                    is_idle=depth == 0,
                    held=self._calls.held(worker) if depth else (),
                    fresh_first=self._breaker.is_suspicious,
                    stable_s=stable_s,
                )
                if indices:
                    call = self._calls.submit(worker, indices, now, self._event)
                    decided.append(SubmitCall(call.number, worker.number, indices))
        if self._queue.has_only_final:
            decided.extend(self._speculation.back_up_stragglers(now, self._event))
        return decided

    def _accept(self, index: int, result: R) -> bool:
        """Whether this is the sample's first result; a later one must equal it."""
        if self._queue.is_open(index):
            self._queue.close(index)
            if self._calls.is_in_flight(index):
                self._first_results[index] = result
            return True
        if index in self._first_results:
            first = self._first_results[index]
            if not self._calls.is_in_flight(index):
                del self._first_results[index]
            if self._same is not None and not self._same(first, result):
                self._pending_decisions.append(GiveUp.unequal(index))
        return False

    def _note_success(self, worker: WorkerState | None) -> None:
        self._breaker.succeeded()
        self._failing.reset()
        self._pending_decisions.extend(self._pending_failures)
        self._pending_failures.clear()
        if worker is not None:
            worker.num_errors = 0
            self._health.succeeded(worker.device)

    def _charge_all(self, call: Call, reason: str, *, is_death: bool = False) -> None:
        """Charge every sample of a call that was running when it failed."""
        is_certain = len(call.indices) == 1
        self._note_sample_failure(call.cause, call, reason)
        for index in call.indices:
            self._charge(index, call, reason, is_certain=is_certain, is_death=is_death)

    def _charge(
        self, index: int, call: Call, reason: str, *, is_certain: bool, is_death: bool = False
    ) -> None:
        if not self._queue.is_open(index):
            return
        if self._queue.charge(index, call.worker, is_certain=is_certain, is_death=is_death):
            # Reported only after a result has shown that not everything is broken.
            failure = FailSample.after(self._policy.max_total_attempts, index, reason)
            self._pending_failures.append(failure)
        else:
            self.num_requeued += 1

    def _note_useless_call(self, worker: WorkerState, call: Call, errors: Errors) -> None:
        """Count a call of which every sample failed, and replace its worker if need be."""
        worker.num_errors += len(errors)
        is_unhealthy = self._check_device(worker, call.failure(self._event, errors[-1][1]))
        if is_unhealthy or worker.num_errors >= self._policy.max_worker_errors:
            self._replace(worker)

    def _note_sample_failure(self, cause: tuple[str, int], call: Call, reason: str) -> None:
        # Final attempts all come at the end: many bad samples there do not mean a broken setup.
        if not self._queue.is_final_attempt(call.indices):
            failure = Failure(cause, call.began_event, self._event, reason)
            self._note_failure(failure, is_repeat=self._queue.has_failed_before(call.indices))

    def _note_failure(self, failure: Failure, *, is_repeat: bool = False) -> None:
        is_over = self._breaker.failed(failure, is_repeat=is_repeat)
        failing_s = self._failing.update(self._breaker.first_event is not None, self._now)
        # Workers that were busy when the failures began may still show that all is well.
        may_work = self._workers.has_unfailed_workers(self._breaker.first_event or 0)
        if is_over and not (may_work and failing_s < self._policy.grace_s):
            give_up = GiveUp.failures(self._policy.max_failures_in_row, failure)
            self._pending_decisions.append(give_up)

    def _check_device(self, worker: WorkerState, failure: Failure) -> bool:
        """Count a failure of a worker's device; returns whether the device is now unhealthy."""
        may_work = self._workers.has_unfailed_workers(
            self._breaker.first_event or 0, except_on=worker.device
        )
        quarantine = self._health.failed(
            worker.device, failure, self._now, may_others_work=may_work
        )
        if quarantine is not None:
            self._pending_decisions.append(quarantine)
        return quarantine is not None

    def _requeue(self, calls: Iterable[Call]) -> None:
        # A worker may have a suspect in two calls.
        indices = dict.fromkeys(index for call in calls for index in call.indices)
        lost = [
            index
            for index in indices
            if self._queue.needs_return(index, is_in_flight=self._calls.is_in_flight(index))
        ]
        self.num_requeued += len(lost)
        self._queue.put_back(lost)

    def _replace(self, worker: WorkerState) -> None:
        """End a worker on which samples keep failing; a fresh one takes its place."""
        self._workers.remove(worker.number)
        self._requeue(self._calls.drop(worker))
        self._pending_decisions.append(RetireWorker(worker.number))
