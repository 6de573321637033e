"""The workers of a pool: which exist, which can take a call, which are leaving."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["requested", "placed", "ready"]
"""Requested from the cluster; its process runs and prepares; takes calls."""


@dataclass(slots=True)
class WorkerState:
    """One worker."""

    number: int
    requested_event: int
    """Event number at which it was requested."""
    phase: Phase = "requested"
    calls: deque[int] = field(default_factory=deque)
    """Calls in flight, the running one first."""
    device: str = ""
    """The node or GPU it runs on; "" while unknown."""
    is_quarantined: bool = False
    """Gets no new calls because its device is quarantined."""
    is_draining: bool = False
    """Gets no new calls, and is retired once it has none left."""
    num_errors: int = 0
    """Samples that failed on it since its last result."""


class Workers:
    """The workers' states, indexed so that decisions stay cheap with a thousand of them."""

    def __init__(self, max_in_flight: int) -> None:
        self._max_in_flight = max_in_flight
        self._workers: dict[int, WorkerState] = {}
        self._with_capacity: dict[int, WorkerState] = {}
        self._draining: dict[int, WorkerState] = {}
        self._num_in_phase: dict[Phase, int] = {"requested": 0, "placed": 0, "ready": 0}
        self._next = 0

    @property
    def num_active(self) -> int:
        """Workers in any phase that are not draining."""
        return len(self._workers) - len(self._draining)

    @property
    def num_ready(self) -> int:
        """Workers that have prepared, including draining ones."""
        return self._num_in_phase["ready"]

    @property
    def num_placed(self) -> int:
        """Workers whose process runs, prepared or not."""
        return self._num_in_phase["placed"] + self._num_in_phase["ready"]

    @property
    def num_starting(self) -> int:
        """Workers requested that have not prepared yet."""
        return self._num_in_phase["requested"] + self._num_in_phase["placed"]

    def get(self, number: int) -> WorkerState | None:
        """The worker, or None if it has been removed."""
        return self._workers.get(number)

    def request(self, event: int) -> WorkerState:
        """Add a worker that is requested at an event."""
        worker = WorkerState(number=self._next, requested_event=event)
        self._next += 1
        self._workers[worker.number] = worker
        self._num_in_phase["requested"] += 1
        return worker

    def advance(self, number: int, phase: Phase) -> None:
        """Move a worker to its next phase; does nothing if it has been removed."""
        worker = self._workers.get(number)
        if worker is not None:
            self._num_in_phase[worker.phase] -= 1
            worker.phase = phase
            self._num_in_phase[phase] += 1
            self.update(worker)

    def on_device(self, device: str) -> list[WorkerState]:
        """The workers of a device."""
        return [worker for worker in self._workers.values() if worker.device == device]

    def set_quarantined(self, worker: WorkerState, is_quarantined: bool) -> None:
        """Stop giving a worker new calls, or start again."""
        worker.is_quarantined = is_quarantined
        self.update(worker)

    def has_unfailed_workers(self, event: int, except_on: str | None = None) -> bool:
        """Whether some worker may still show that not everything is broken.

        Such a worker was requested before the event, has had no error since its last result, and
        is preparing or has a call.

        Args:
            event: The event's number.
            except_on: A device whose workers do not count.
        """
        return any(
            worker.requested_event < event
            and not worker.num_errors
            and worker.device != except_on
            and (worker.phase == "placed" or worker.calls)
            for worker in self.usable()
        )

    def usable(self) -> Iterator[WorkerState]:
        """Workers whose process runs and that are not quarantined."""
        workers = self._workers.values()
        return (w for w in workers if w.phase != "requested" and not w.is_quarantined)

    def remove(self, number: int) -> WorkerState | None:
        """Forget a worker; None if it was removed before."""
        worker = self._workers.pop(number, None)
        if worker is not None:
            self._with_capacity.pop(number, None)
            self._draining.pop(number, None)
            self._num_in_phase[worker.phase] -= 1
        return worker

    def update(self, worker: WorkerState) -> None:
        """Update the indices after a change of a worker's calls, phase or flags."""
        is_blocked = worker.is_draining or worker.is_quarantined
        if worker.phase == "ready" and not is_blocked and len(worker.calls) < self._max_in_flight:
            self._with_capacity[worker.number] = worker
        else:
            self._with_capacity.pop(worker.number, None)

    def with_capacity(self, num_calls: int) -> list[WorkerState]:
        """Workers that can take another call and have exactly so many in flight."""
        return [w for w in self._with_capacity.values() if len(w.calls) == num_calls]

    def drain(self, worker: WorkerState) -> None:
        """Let a worker finish the calls it has; it gets no more."""
        worker.is_draining = True
        self._draining[worker.number] = worker
        self.update(worker)

    def drained(self) -> list[WorkerState]:
        """Draining workers that have finished all their calls."""
        return [worker for worker in self._draining.values() if not worker.calls]

    def drain_all(self, numbers: Container[int]) -> None:
        """Drain these workers, because their node is being drained."""
        for worker in list(self._active()):
            if worker.number in numbers:
                self.drain(worker)

    def shrink(self, target: int) -> None:
        """Drain workers above the target: those not ready first, then those with fewest calls."""
        surplus = self.num_active - target
        if surplus > 0:
            ranked = sorted(
                self._active(), key=lambda w: (w.phase == "ready", len(w.calls), -w.number)
            )
            for worker in ranked[:surplus]:
                self.drain(worker)

    def _active(self) -> Iterator[WorkerState]:
        return (worker for worker in self._workers.values() if not worker.is_draining)
