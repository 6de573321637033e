"""Backups at the end of a run: idle workers evaluate what slow ones have not finished."""

from __future__ import annotations

from collections.abc import Iterator

from nasi_ray.pool.scheduler.calls import Call, CallLedger
from nasi_ray.pool.scheduler.decisions import SubmitCall
from nasi_ray.pool.scheduler.policy import Pace
from nasi_ray.pool.scheduler.queue import SampleQueue
from nasi_ray.pool.scheduler.workers import Workers

_SCAN_S = 0.25


class Speculation:
    """Gives late calls to idle workers, too; the first result of a sample counts."""

    def __init__(self, queue: SampleQueue, workers: Workers, calls: CallLedger, pace: Pace) -> None:
        self._queue, self._workers, self._calls, self._pace = queue, workers, calls, pace
        self._scan_at = 0.0

    def back_up_stragglers(self, now: float, event: int) -> Iterator[SubmitCall]:
        """Submit a backup of each late call for which there is an idle worker."""
        for worker in self._workers.with_capacity(0):
            straggler = self._straggler(now)
            if straggler is None:
                break
            indices = tuple(i for i in straggler.indices if self._queue.is_open(i))
            backup = self._calls.submit(worker, indices, now, event)
            self._calls.add_backup(straggler, backup)
            yield SubmitCall(backup.number, worker.number, indices)

    def needs_spare_worker(self, target: int, now: float) -> bool:
        """Whether a call is late and no worker is idle, or will be soon, to take it over."""
        has_room = self._workers.num_active < target and not self._workers.num_starting
        if not has_room or self._workers.with_capacity(0):
            return False
        return len(self._queue) > 0 or self._straggler(now) is not None

    def _straggler(self, now: float) -> Call | None:
        """A call that waits behind another, else the late call that has been running longest."""
        if now < self._scan_at:
            return None
        longest: Call | None = None
        for call in self._calls:
            if call.backup is not None or not self._queue.may_have_backup(call.indices):
                continue
            if call.running_since is None:
                return call
            since = call.running_since
            is_longest = longest is None or since < (longest.running_since or 0.0)
            if is_longest and now - since > self._pace.late_s(len(call.indices)):
                longest = call
        if longest is None:
            self._scan_at = now + _SCAN_S
        return longest
