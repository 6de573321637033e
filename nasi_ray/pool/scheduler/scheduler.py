"""The state machine of the worker pool: events in, decisions out. No Ray, and time is passed in.

A sample is open until it has a result or a verdict. Work goes out in calls of several samples, at
most ``max_in_flight`` per worker. When a worker is lost, the samples of its running call are
suspects: charged an attempt and given out again one by one.
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
from nasi_ray.pool.scheduler.failures import Failure
from nasi_ray.pool.scheduler.health import Places
from nasi_ray.pool.scheduler.policy import Breaker, Pace, PoolPolicy, Since, chunk_length
from nasi_ray.pool.scheduler.queue import Backlog
from nasi_ray.pool.scheduler.speculation import Tail
from nasi_ray.pool.scheduler.workers import Fleet, WorkerState

R = TypeVar("R")
Errors = Sequence[tuple[int, str]]


class Scheduler(Generic[R]):
    """Decides who evaluates what; the caller reports events and carries the decisions out.

    Args:
        policy: The limits.
        same: Whether two results of one sample are equal; None: not checked.
    """

    def __init__(self, policy: PoolPolicy, same: Callable[[R, R], bool] | None = None) -> None:
        self._policy = policy
        self._same = same
        self._backlog = Backlog(policy)
        self._fleet = Fleet(policy.max_in_flight)
        self._breaker = Breaker(policy.max_failures_in_row)
        self._places = Places(policy, self._fleet)
        self._calls = CallLedger(self._fleet)
        self._first: dict[int, R] = {}
        self._condemned: list[FailSample] = []
        self._decided: list[Decision] = []
        self._target = 1
        self._pace = Pace(policy)
        self._tail = Tail(self._backlog, self._fleet, self._calls, self._pace)
        self._without, self._calm, self._failing = Since(), Since(), Since()
        self._event, self._now = 0, 0.0
        self.num_deaths = 0
        """Workers lost, not counting those retired."""
        self.num_requeued = 0
        """Samples given out again because their worker was lost or their evaluation failed."""

    @property
    def num_ready(self) -> int:
        """Workers able to take work."""
        return self._fleet.num_ready

    @property
    def num_coming(self) -> int:
        """Workers asked for that do not work yet."""
        return self._fleet.num_coming

    def add(self, indices: Iterable[int]) -> None:
        """Begin a run with these samples; workers of an earlier run are kept."""
        self._backlog.add(indices)
        self._breaker.start()
        self._without.break_off()

    def abandon(self) -> None:
        """Drop all samples; what is still being evaluated will be ignored."""
        self._backlog.clear()
        self._condemned.clear()
        self._decided.clear()
        self._first.clear()

    def tick(self, target: int, draining: Container[int] = ()) -> None:
        """Take note of how many workers to have, and which ones stand on a draining node."""
        self._target = target
        self._fleet.dismiss_draining(draining)
        self._fleet.shrink(target)

    def placed(self, worker: int, place: str = "") -> None:
        """A worker's process is up, on that node or GPU (whichever has a name); it prepares."""
        self._places.settle(worker, place)
        self._fleet.advance(worker, "placed")

    def ready(self, worker: int) -> None:
        """A worker has prepared and takes work."""
        self._fleet.advance(worker, "ready")

    def call_done(
        self,
        number: int,
        results: Sequence[tuple[int, R]],
        errors: Errors,
        seconds: float,
        now: float,
    ) -> list[R]:
        """A call came back.

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
        firsts = [result for index, result in results if self._settle(index, result)]
        if results:
            self._succeed(worker)
        for index, reason in errors:
            self._fail_sample(("sample", index), call, reason)
            self._charge(index, call, reason, True, False)
        if worker is not None and errors and not results:
            self._only_failed(worker, call, errors)
        return firsts

    def call_failed(self, number: int, reason: str, now: float) -> None:
        """A call failed as a whole although its worker lives (say, its result cannot be sent)."""
        if (call := self._calls.get(number)) is not None:
            self._event += 1
            self._calls.end(call, now, self._event)
            self._blame(call, reason)

    def lost(self, number: int, reason: str, *, preempted: bool = False) -> None:
        """A worker died, or cannot be reached, or could not prepare.

        Args:
            number: The worker.
            reason: In one line.
            preempted: Its node was taken away on notice: nobody is to blame.
        """
        worker = self._fleet.remove(number)
        if worker is None:
            return
        self._event += 1
        self.num_deaths += 1
        calls = self._calls.drop(worker)
        if preempted:
            self._requeue(calls)
            return
        if not worker.is_benched:
            self._calm.break_off()
        self._requeue(calls[1:])
        if calls:
            failure = calls[0].failure(self._event, reason)
            self._blame(calls[0], reason, is_death=True)
        else:
            failure = Failure(("worker", number), worker.began, self._event, reason)
            self._fail(failure)
        self._is_sick(worker, failure)

    def decide(self, now: float) -> list[Decision]:
        """What is to be done now, in this order; to be called after every batch of events."""
        self._now = now
        self._places.recover(now)
        decided, self._decided = self._decided, []
        for worker in self._fleet.leavers():
            self._fleet.remove(worker.number)
            decided.append(RetireWorker(worker.number))
        if any(isinstance(decision, GiveUp) for decision in decided):
            return decided
        if self._backlog.num_open == 0:
            decided += [*self._condemned, Finished()]
            self._condemned.clear()
            return decided
        while self._fleet.num_staff < min(self._target, self._backlog.num_open):
            decided.append(StartWorker(self._fleet.start(self._event).number))
        decided.extend(self._give_out(now))
        if self._tail.needs_spare(self._target, now):
            decided.append(StartWorker(self._fleet.start(self._event).number))
        waited_s = self._without.update(not self._fleet.num_placed, now)
        if waited_s > self._policy.capacity_timeout_s:
            decided.append(OutOfCapacity(waited_s))
        return decided

    def _give_out(self, now: float) -> list[Decision]:
        decided: list[Decision] = []
        calm_s = self._calm.update(self._fleet.num_ready > 0, now)
        for depth in range(self._policy.max_in_flight):
            for worker in self._fleet.hungry(depth) if len(self._backlog) else ():
                length = chunk_length(
                    self._policy, self._pace.sample_s, len(self._backlog), self._fleet.num_ready
                )
                indices = self._backlog.take(
                    length,
                    worker.number,
                    is_idle=depth == 0,
                    held=self._calls.held(worker) if depth else (),
                    fresh_first=self._breaker.is_in_doubt,
                    calm_s=calm_s,
                )
                if indices:
                    call = self._calls.submit(worker, indices, now, self._event)
                    decided.append(SubmitCall(call.number, worker.number, indices))
        if self._backlog.has_only_last:
            decided.extend(self._tail.double_stragglers(now, self._event))
        return decided

    def _settle(self, index: int, result: R) -> bool:
        """Whether this is the sample's first result; a later one must equal it."""
        if self._backlog.is_open(index):
            self._backlog.close(index)
            if self._calls.is_out(index):
                self._first[index] = result
            return True
        if index in self._first:
            first = self._first[index] if self._calls.is_out(index) else self._first.pop(index)
            if self._same is not None and not self._same(first, result):
                self._decided.append(GiveUp.unequal(index))
        return False

    def _succeed(self, worker: WorkerState | None) -> None:
        self._breaker.succeeded()
        self._failing.break_off()
        self._decided.extend(self._condemned)
        self._condemned.clear()
        if worker is not None:
            worker.num_errors = 0
            self._places.succeeded(worker.place)

    def _blame(self, call: Call, reason: str, *, is_death: bool = False) -> None:
        """Charge every sample of a call that was running when it failed."""
        is_sure = len(call.indices) == 1
        self._fail_sample(call.cause, call, reason)
        for index in call.indices:
            self._charge(index, call, reason, is_sure, is_death)

    def _charge(self, index: int, call: Call, reason: str, is_sure: bool, is_death: bool) -> None:
        if not self._backlog.is_open(index):
            return
        if self._backlog.charge(index, call.worker, is_sure=is_sure, is_death=is_death):
            # Told only once a result shows that not everything is broken.
            self._condemned.append(FailSample.after(self._policy.max_in_all, index, reason))
        else:
            self.num_requeued += 1

    def _only_failed(self, worker: WorkerState, call: Call, errors: Errors) -> None:
        worker.num_errors += len(errors)
        is_sick = self._is_sick(worker, call.failure(self._event, errors[-1][1]))
        if is_sick or worker.num_errors >= self._policy.max_worker_errors:
            self._replace(worker)

    def _fail_sample(self, what: tuple[str, int], call: Call, reason: str) -> None:
        # The last attempts come all at the end: many bad samples there are no broken set-up.
        if not self._backlog.is_last_attempt(call.indices):
            failure = Failure(what, call.began, self._event, reason)
            self._fail(failure, is_known=self._backlog.is_known(call.indices))

    def _fail(self, failure: Failure, *, is_known: bool = False) -> None:
        is_up = self._breaker.failed(failure, is_known=is_known)
        failing_s = self._failing.update(self._breaker.began is not None, self._now)
        # Those that were at work when failures began may yet show that all is well.
        may_work = self._fleet.may_show(self._breaker.began or 0)
        if is_up and not (may_work and failing_s < self._policy.patience_s):
            self._decided.append(GiveUp.failures(self._policy.max_failures_in_row, failure))

    def _is_sick(self, worker: WorkerState, failure: Failure) -> bool:
        """Whether a failure was one too many for its place."""
        may_work = self._fleet.may_show(self._breaker.began or 0, but_at=worker.place)
        pause = self._places.failed(worker.place, failure, self._now, may_others_work=may_work)
        if pause is not None:
            self._decided.append(pause)
        return pause is not None

    def _requeue(self, calls: Iterable[Call]) -> None:
        # A worker may have a suspect in two calls.
        indices = dict.fromkeys(index for call in calls for index in call.indices)
        lost = [i for i in indices if self._backlog.needs_return(i, is_out=self._calls.is_out(i))]
        self.num_requeued += len(lost)
        self._backlog.put_back(lost)

    def _replace(self, worker: WorkerState) -> None:
        """End a worker on which samples keep failing; the next one starts afresh."""
        self._fleet.remove(worker.number)
        self._requeue(self._calls.drop(worker))
        self._decided.append(RetireWorker(worker.number))
