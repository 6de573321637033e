"""The calls in flight: who evaluates which samples, since when, and which of them are doubled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nasi_ray.pool.scheduler.failures import Failure
from nasi_ray.pool.scheduler.workers import Fleet, WorkerState

_SCAN_S = 0.25


@dataclass(slots=True)
class Call:
    """Samples given to one worker in one go."""

    number: int
    worker: int
    indices: tuple[int, ...]
    running_since: float | None = None
    """None while it waits behind another call of its worker."""
    began: int = 0
    """Event number at which it began to run."""
    twin: int | None = None
    """The other call with the same samples, if it was doubled."""

    @property
    def cause(self) -> tuple[str, int]:
        """What its failure is counted by: the sample if it is alone, else the call."""
        return ("sample", self.indices[0]) if len(self.indices) == 1 else ("call", self.number)

    def failure(self, event: int, reason: str) -> Failure:
        """That it failed as a whole."""
        return Failure(self.cause, self.began, event, reason)


class CallLedger:
    """Books of the calls in flight; keeps the workers' queues in step."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._calls: dict[int, Call] = {}
        self._copies: dict[int, int] = {}
        self._next = 0
        self._scan_at = 0.0

    def get(self, number: int) -> Call | None:
        """The call, or None if it is over or its worker is gone."""
        return self._calls.get(number)

    def is_out(self, index: int) -> bool:
        """Whether some worker has the sample."""
        return index in self._copies

    def held(self, worker: WorkerState) -> set[int]:
        """The samples that a worker has."""
        return {index for number in worker.calls for index in self._calls[number].indices}

    def submit(self, worker: WorkerState, indices: tuple[int, ...], now: float, event: int) -> Call:
        """Book a new call at the end of a worker's queue."""
        call = Call(self._next, worker.number, indices)
        self._next += 1
        self._calls[call.number] = call
        for index in indices:
            self._copies[index] = self._copies.get(index, 0) + 1
        worker.calls.append(call.number)
        self._mark_running(worker, now, event)
        self._fleet.update(worker)
        return call

    def double(self, call: Call, other: Call) -> None:
        """Note that two calls have the same samples."""
        call.twin, other.twin = other.number, call.number

    def end(self, call: Call, now: float, event: int) -> WorkerState | None:
        """Take a call off its worker (which is returned); the next one of its queue now runs."""
        self._forget(call)
        worker = self._fleet.get(call.worker)
        if worker is not None:
            worker.calls.remove(call.number)
            self._mark_running(worker, now, event)
            self._fleet.update(worker)
        return worker

    def drop(self, worker: WorkerState) -> list[Call]:
        """Forget all calls of a worker that is gone; the running one comes first."""
        calls = [self._calls[number] for number in worker.calls]
        for call in calls:
            self._forget(call)
        return calls

    def straggler(
        self,
        may_double: Callable[[tuple[int, ...]], bool],
        late_s: Callable[[int], float],
        now: float,
    ) -> Call | None:
        """Find a call worth giving to an idle worker as well.

        Args:
            may_double: Whether a call with these samples is worth it.
            late_s: Seconds after which a running call of so many samples is late.
            now: The time, in seconds.

        Returns:
            A call waiting behind another, else the late one that has been running longest.
        """
        if now < self._scan_at:
            return None
        longest: Call | None = None
        for call in self._calls.values():
            if call.twin is not None or not may_double(call.indices):
                continue
            if call.running_since is None:
                return call
            since = call.running_since
            is_longest = longest is None or since < (longest.running_since or 0.0)
            if is_longest and now - since > late_s(len(call.indices)):
                longest = call
        if longest is None:
            self._scan_at = now + _SCAN_S
        return longest

    def _mark_running(self, worker: WorkerState, now: float, event: int) -> None:
        if worker.calls:
            head = self._calls[worker.calls[0]]
            if head.running_since is None:
                head.running_since, head.began = now, event

    def _forget(self, call: Call) -> None:
        del self._calls[call.number]
        twin = self._calls.get(call.twin) if call.twin is not None else None
        if twin is not None:
            twin.twin = None
        for index in call.indices:
            self._copies[index] -= 1
            if not self._copies[index]:
                del self._copies[index]
