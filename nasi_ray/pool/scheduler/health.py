"""Devices on which everything fails while others work: a broken GPU, a bad node."""

from __future__ import annotations

from dataclasses import dataclass, field

from nasi_ray.pool.scheduler.decisions import Quarantine
from nasi_ray.pool.scheduler.failures import Failure, FailureStreak
from nasi_ray.pool.scheduler.policy import PoolPolicy
from nasi_ray.pool.scheduler.workers import Workers


@dataclass(slots=True)
class _Device:
    failures: FailureStreak = field(default_factory=FailureStreak)
    has_worked: bool = False
    num_quarantines: int = 0
    quarantined_until: float | None = None

    @property
    def is_healthy(self) -> bool:
        return self.has_worked and not self.failures.num_rounds and self.quarantined_until is None


class DeviceHealth:
    """Quarantines a device when it keeps failing and the others do not.

    A device is a node, or a GPU of one: where a worker runs. It is unhealthy when

    * ``max_device_failures`` different things in a row have failed there, each begun after the one
      before had failed, and
    * another device has returned results and failed nothing since, or may still return some.

    Its workers then finish the calls they have. They, and workers that start there later, get no
    new calls; so they keep other workers off the device. The quarantine lasts ``quarantine_s``,
    twice as long each time, or until one of the workers returns a result after all.
    """

    def __init__(self, policy: PoolPolicy, workers: Workers) -> None:
        self._workers = workers
        self._max_failures = policy.max_device_failures
        self._quarantine_s = policy.quarantine_s
        self._devices: dict[str, _Device] = {}
        self._num_quarantined = 0

    def assign(self, number: int, name: str) -> None:
        """Note on which device a worker started; does nothing if the worker is gone."""
        if (worker := self._workers.get(number)) is not None:
            worker.device = name
            is_quarantined = self._get(name).quarantined_until is not None
            self._workers.set_quarantined(worker, is_quarantined)

    def succeeded(self, name: str) -> None:
        """Note that a device returned a result."""
        device = self._get(name)
        device.has_worked = True
        device.failures.clear()
        if device.quarantined_until is not None:
            self._release(name, device)

    def failed(
        self, name: str, failure: Failure, now: float, *, may_others_work: bool
    ) -> Quarantine | None:
        """Note that something failed on a device.

        Args:
            name: The device; "" if it is unknown.
            failure: What failed.
            now: The time, in seconds.
            may_others_work: Whether workers elsewhere that have not failed are still busy.

        Returns:
            The quarantine, if the device is unhealthy from now on.
        """
        device = self._get(name)
        if not name or not device.failures.count(failure) or device.quarantined_until is not None:
            return None
        if device.failures.num_causes < self._max_failures:
            return None
        others = (other for key, other in self._devices.items() if key != name)
        if not may_others_work and not any(other.is_healthy for other in others):
            return None
        seconds = self._quarantine_s * 2.0**device.num_quarantines
        device.quarantined_until = now + seconds
        device.num_quarantines += 1
        self._num_quarantined += 1
        self._set_quarantined(name, True)
        return Quarantine(name, seconds, failure.reason)

    def release(self, now: float) -> None:
        """End the quarantines that are over by now, or all if no other worker is left."""
        if not self._num_quarantined:
            return
        is_needed = not any(self._workers.usable())
        for name, device in self._devices.items():
            until = device.quarantined_until
            if until is not None and (is_needed or until <= now):
                device.failures.clear()
                self._release(name, device)

    def _release(self, name: str, device: _Device) -> None:
        device.quarantined_until = None
        self._num_quarantined -= 1
        self._set_quarantined(name, False)

    def _set_quarantined(self, name: str, is_quarantined: bool) -> None:
        for worker in self._workers.on_device(name):
            self._workers.set_quarantined(worker, is_quarantined)

    def _get(self, name: str) -> _Device:
        return self._devices.setdefault(name, _Device())
