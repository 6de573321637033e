"""The workers of a pool: who there is, who can take work, who has to go. No Ray, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["starting", "placed", "ready"]
"""Asked for; its process runs and prepares; takes work."""


@dataclass(slots=True)
class WorkerState:
    """One worker."""

    number: int
    began: int
    """Event number at which it was asked for."""
    phase: Phase = "starting"
    calls: deque[int] = field(default_factory=deque)
    """Calls in flight, the running one first."""
    place: str = ""
    """Where it runs: a node, or a GPU of one; "" while that is unknown."""
    is_benched: bool = False
    """Gets no work, as its place has a pause."""
    is_leaving: bool = False
    """Gets no new work and is retired once it has none."""
    num_errors: int = 0
    """Samples that failed on it since its last result."""


class Fleet:
    """Keeps the workers' states and the sets that make decisions cheap with a thousand of them."""

    def __init__(self, max_in_flight: int) -> None:
        self._max_in_flight = max_in_flight
        self._workers: dict[int, WorkerState] = {}
        self._hungry: dict[int, WorkerState] = {}
        self._leaving: dict[int, WorkerState] = {}
        self._num_phase: dict[Phase, int] = {"starting": 0, "placed": 0, "ready": 0}
        self._next = 0

    @property
    def num_staff(self) -> int:
        """Workers that stay, up or not."""
        return len(self._workers) - len(self._leaving)

    @property
    def num_ready(self) -> int:
        """Workers able to work, those on their way out included."""
        return self._num_phase["ready"]

    @property
    def num_placed(self) -> int:
        """Workers that have their place on a node, ready or not."""
        return self._num_phase["placed"] + self._num_phase["ready"]

    @property
    def num_coming(self) -> int:
        """Workers asked for that do not work yet."""
        return self._num_phase["starting"] + self._num_phase["placed"]

    def get(self, number: int) -> WorkerState | None:
        """The worker, or None if it has been removed."""
        return self._workers.get(number)

    def start(self, began: int) -> WorkerState:
        """Add a worker that has been asked for."""
        worker = WorkerState(number=self._next, began=began)
        self._next += 1
        self._workers[worker.number] = worker
        self._num_phase["starting"] += 1
        return worker

    def advance(self, number: int, phase: Phase) -> WorkerState | None:
        """A worker has come up, or is ready."""
        worker = self._workers.get(number)
        if worker is not None:
            self._num_phase[worker.phase] -= 1
            worker.phase = phase
            self._num_phase[phase] += 1
            self.update(worker)
        return worker

    def at(self, place: str) -> list[WorkerState]:
        """The workers of a place."""
        return [worker for worker in self._workers.values() if worker.place == place]

    def bench(self, worker: WorkerState, *, is_benched: bool) -> None:
        """Give a worker no work, or again."""
        worker.is_benched = is_benched
        self.update(worker)

    def may_show(self, event: int, but_at: str | None = None) -> bool:
        """Whether some may yet show that not everything is broken.

        They have been asked for before an event, have failed nothing since their last result, and
        prepare or have work.

        Args:
            event: The event's number.
            but_at: A place whose workers do not count.
        """
        return any(
            worker.began < event
            and not worker.num_errors
            and worker.place != but_at
            and (worker.phase == "placed" or worker.calls)
            for worker in self.up()
        )

    def up(self) -> Iterator[WorkerState]:
        """The workers that have their place, and work to do or a chance to get some."""
        return (w for w in self._workers.values() if w.phase != "starting" and not w.is_benched)

    def remove(self, number: int) -> WorkerState | None:
        """Forget a worker; None if it was forgotten before."""
        worker = self._workers.pop(number, None)
        if worker is not None:
            self._hungry.pop(number, None)
            self._leaving.pop(number, None)
            self._num_phase[worker.phase] -= 1
        return worker

    def update(self, worker: WorkerState) -> None:
        """Note that a worker's calls, phase or staying have changed."""
        takes_work = worker.phase == "ready" and not worker.is_leaving and not worker.is_benched
        if takes_work and len(worker.calls) < self._max_in_flight:
            self._hungry[worker.number] = worker
        else:
            self._hungry.pop(worker.number, None)

    def hungry(self, num_calls: int) -> list[WorkerState]:
        """Workers that take work and have exactly so many calls in flight."""
        return [worker for worker in self._hungry.values() if len(worker.calls) == num_calls]

    def dismiss(self, worker: WorkerState) -> None:
        """Let a worker finish what it has and go."""
        worker.is_leaving = True
        self._leaving[worker.number] = worker
        self.update(worker)

    def leavers(self) -> list[WorkerState]:
        """Workers on their way out that have nothing left to finish."""
        return [worker for worker in self._leaving.values() if not worker.calls]

    def dismiss_draining(self, draining: Container[int]) -> None:
        """Dismiss the workers whose node is being drained."""
        for worker in list(self._staff()):
            if worker.number in draining:
                self.dismiss(worker)

    def shrink(self, target: int) -> None:
        """Dismiss workers above the target: first those not up, then those with least to do."""
        surplus = self.num_staff - target
        if surplus > 0:
            ranked = sorted(
                self._staff(), key=lambda w: (w.phase == "ready", len(w.calls), -w.number)
            )
            for worker in ranked[:surplus]:
                self.dismiss(worker)

    def _staff(self) -> Iterator[WorkerState]:
        return (worker for worker in self._workers.values() if not worker.is_leaving)
