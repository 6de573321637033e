"""Places that fail whatever they are given while others work: a broken GPU, a node gone bad."""

from __future__ import annotations

from dataclasses import dataclass, field

from nasi_ray.pool.scheduler.decisions import PausePlace
from nasi_ray.pool.scheduler.failures import Failure, FailureRow
from nasi_ray.pool.scheduler.policy import PoolPolicy
from nasi_ray.pool.scheduler.workers import Fleet


@dataclass(slots=True)
class _Place:
    failures: FailureRow = field(default_factory=FailureRow)
    has_worked: bool = False
    num_pauses: int = 0
    paused_until: float | None = None


class Places:
    """Gives a place a pause once only it keeps failing.

    A place is a node, or a GPU of one: where a worker runs. It is sick when
    ``max_failures_of_place`` different things in a row have failed there, each begun after the one
    before had failed, and another place has had results and failed nothing since, or may yet have
    some. Its workers then finish what they have, and those that come up there get no work and so
    keep others from coming up there, for ``place_pause_s``, twice as long each time, or until one
    of them has a result after all.
    """

    def __init__(self, policy: PoolPolicy, fleet: Fleet) -> None:
        self._fleet = fleet
        self._max_failures = policy.max_failures_of_place
        self._pause_s = policy.place_pause_s
        self._places: dict[str, _Place] = {}
        self._num_sick = 0

    def settle(self, number: int, name: str) -> None:
        """A worker has come up there (nothing if it is gone)."""
        if (worker := self._fleet.get(number)) is not None:
            worker.place = name
            self._fleet.bench(worker, is_benched=self._get(name).paused_until is not None)

    def succeeded(self, name: str) -> None:
        """A result came from there."""
        place = self._get(name)
        place.has_worked = True
        place.failures.clear()
        if place.paused_until is not None:
            self._end_pause(name, place)

    def failed(
        self, name: str, failure: Failure, now: float, *, may_others_work: bool
    ) -> PausePlace | None:
        """Something failed there.

        Args:
            name: The place; "" if it is unknown.
            failure: What it was.
            now: The time, in seconds.
            may_others_work: Whether workers elsewhere that have not failed are still at it.

        Returns:
            The pause that it gets, if it is sick from now on.
        """
        place = self._get(name)
        if not name or not place.failures.count(failure) or place.paused_until is not None:
            return None
        if place.failures.num_causes < self._max_failures:
            return None
        others = (other for key, other in self._places.items() if key != name)
        if not may_others_work and not any(self._is_well(other) for other in others):
            return None
        pause_s = self._pause_s * 2.0**place.num_pauses
        place.paused_until = now + pause_s
        place.num_pauses += 1
        self._num_sick += 1
        self._bench(name, is_benched=True)
        return PausePlace(name, pause_s, failure.reason)

    def recover(self, now: float) -> None:
        """End the pauses that are over by now, or all if no other worker is left."""
        if not self._num_sick:
            return
        is_needed = not any(self._fleet.up())
        for name, place in self._places.items():
            if place.paused_until is not None and (is_needed or place.paused_until <= now):
                place.failures.clear()
                self._end_pause(name, place)

    def _end_pause(self, name: str, place: _Place) -> None:
        place.paused_until = None
        self._num_sick -= 1
        self._bench(name, is_benched=False)

    def _bench(self, name: str, *, is_benched: bool) -> None:
        for worker in self._fleet.at(name):
            self._fleet.bench(worker, is_benched=is_benched)

    def _get(self, name: str) -> _Place:
        return self._places.setdefault(name, _Place())

    @staticmethod
    def _is_well(place: _Place) -> bool:
        return place.has_worked and not place.failures.num_rounds and place.paused_until is None
