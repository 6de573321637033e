"""The end of a run: who takes over from the slow. No Ray, and time is passed in."""

from __future__ import annotations

from collections.abc import Iterator

from nasi_ray.pool.scheduler.calls import Call, CallLedger
from nasi_ray.pool.scheduler.decisions import SubmitCall
from nasi_ray.pool.scheduler.policy import Pace
from nasi_ray.pool.scheduler.queue import Backlog
from nasi_ray.pool.scheduler.workers import Fleet


class Tail:
    """Gives calls that are late to idle workers as well."""

    def __init__(self, backlog: Backlog, fleet: Fleet, calls: CallLedger, pace: Pace) -> None:
        self._backlog, self._fleet, self._calls, self._pace = backlog, fleet, calls, pace

    def double_stragglers(self, now: float, event: int) -> Iterator[SubmitCall]:
        """Book a second call for each straggler there is an idle worker for."""
        for worker in self._fleet.hungry(0):
            straggler = self._straggler(now)
            if straggler is None:
                break
            indices = tuple(i for i in straggler.indices if self._backlog.is_open(i))
            double = self._calls.submit(worker, indices, now, event)
            self._calls.double(straggler, double)
            yield SubmitCall(double.number, worker.number, indices)

    def needs_spare(self, target: int, now: float) -> bool:
        """As few workers as samples are left, and one of them hangs: another has to take over."""
        has_room = self._fleet.num_staff < target and not self._fleet.num_coming
        if not has_room or self._fleet.hungry(0):
            return False
        return len(self._backlog) > 0 or self._straggler(now) is not None

    def _straggler(self, now: float) -> Call | None:
        return self._calls.straggler(self._backlog.may_double, self._pace.late_s, now)
