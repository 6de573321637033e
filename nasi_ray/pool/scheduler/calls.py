"""The calls in flight: which worker evaluates which samples, since when, and which have backups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nasi_ray.pool.scheduler.failures import Failure
from nasi_ray.pool.scheduler.workers import Workers, WorkerState


@dataclass(slots=True)
class Call:
    """Samples given to one worker in one request."""

    number: int
    worker: int
    indices: tuple[int, ...]
    running_since: float | None = None
    """None while it waits behind another call of its worker."""
    began_event: int = 0
    """Event number at which it began to run."""
    backup: int | None = None
    """Number of the other call with the same samples, if there is one."""

    @property
    def cause(self) -> tuple[str, int]:
        """The cause that its failure counts for: its sample if there is only one, else the call."""
        return ("sample", self.indices[0]) if len(self.indices) == 1 else ("call", self.number)

    def failure(self, event: int, reason: str) -> Failure:
        """The failure of the whole call."""
        return Failure(self.cause, self.began_event, event, reason)


class CallLedger:
    """Records the calls in flight, and keeps the workers' own lists of calls up to date."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._calls: dict[int, Call] = {}
        self._num_copies: dict[int, int] = {}
        self._next = 0

    def __iter__(self) -> Iterator[Call]:
        """The calls in flight, oldest first."""
        return iter(self._calls.values())

    def get(self, number: int) -> Call | None:
        """The call, or None if it has ended or its worker is gone."""
        return self._calls.get(number)

    def is_in_flight(self, index: int) -> bool:
        """Whether some worker has the sample."""
        return index in self._num_copies

    def held(self, worker: WorkerState) -> set[int]:
        """The samples that a worker has."""
        return {index for number in worker.calls for index in self._calls[number].indices}

    def submit(self, worker: WorkerState, indices: tuple[int, ...], now: float, event: int) -> Call:
        """Add a new call behind the other calls of a worker."""
        call = Call(self._next, worker.number, indices)
        self._next += 1
        self._calls[call.number] = call
        for index in indices:
            self._num_copies[index] = self._num_copies.get(index, 0) + 1
        worker.calls.append(call.number)
        self._mark_running(worker, now, event)
        self._workers.update(worker)
        return call

    def add_backup(self, call: Call, backup: Call) -> None:
        """Note that two calls have the same samples."""
        call.backup, backup.backup = backup.number, call.number

    def end(self, call: Call, now: float, event: int) -> WorkerState | None:
        """Remove a call; the next call of its worker now runs.

        Returns:
            The worker, or None if it is gone.
        """
        self._forget(call)
        worker = self._workers.get(call.worker)
        if worker is not None:
            worker.calls.remove(call.number)
            self._mark_running(worker, now, event)
            self._workers.update(worker)
        return worker

    def drop(self, worker: WorkerState) -> list[Call]:
        """Remove and return all calls of a worker that is gone, the running one first."""
        calls = [self._calls[number] for number in worker.calls]
        for call in calls:
            self._forget(call)
        return calls

    def _mark_running(self, worker: WorkerState, now: float, event: int) -> None:
        if worker.calls:
            head = self._calls[worker.calls[0]]
            if head.running_since is None:
                head.running_since, head.began_event = now, event

    def _forget(self, call: Call) -> None:
        del self._calls[call.number]
        backup = self._calls.get(call.backup) if call.backup is not None else None
        if backup is not None:
            backup.backup = None
        for index in call.indices:
            self._num_copies[index] -= 1
            if not self._num_copies[index]:
                del self._num_copies[index]
