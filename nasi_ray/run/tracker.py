"""Progress of a run's records, for a display."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from nasi_ray.arrays import IntArray
from nasi_ray.progress import DISPLAY_INTERVAL_S, ProgressState, Rate
from nasi_ray.records import Row
from nasi_ray.runner import RunnerStatus

_DISPLAY_SHARE = 0.01

R_contra = TypeVar("R_contra", contravariant=True)


class ProgressTracker(Protocol[R_contra]):
    """Follows the records of a run for a progress display."""

    @property
    def num_total(self) -> int:
        """Records there will be."""

    @property
    def is_due(self) -> bool:
        """Whether it is time to show the state again."""

    def name(self, row: R_contra) -> str:
        """How messages name a record: ``sample 3``."""

    def add(self, batch: Sequence[R_contra]) -> None:
        """Count records."""

    def state(self, workers: RunnerStatus) -> ProgressState:
        """The state to show now."""


class Counter:
    """Counts the records of a run, how fast they arrive, and when to show that next."""

    def __init__(
        self,
        stored: IntArray,
        is_ok: npt.NDArray[np.bool_],
        indices: Sequence[int],
        clock: Callable[[], float],
    ) -> None:
        """Start with the stored records.

        Args:
            stored: Their indices, sorted, shape (stored,).
            is_ok: Which of them are good, shape (stored,).
            indices: What will be evaluated.
            clock: Monotonic seconds.
        """
        self._clock = clock
        self.index = np.union1d(stored, np.asarray(indices, dtype=np.int64))
        """Indices of all records there will be, sorted, shape (records,)."""
        self.done = np.isin(self.index, stored)
        """Which of them are there, shape (records,)."""
        self.ok = np.zeros(len(self.index), dtype=np.bool_)
        """Which of them are there and good, shape (records,)."""
        self.ok[self.done] = is_ok
        self._num_done = int(self.done.sum())
        self._num_ok = int(self.ok.sum())
        self._next_display = clock()
        self._rate = Rate(self._num_done, self._next_display)

    @property
    def num_done(self) -> int:
        """Records that are there."""
        return self._num_done

    @property
    def num_total(self) -> int:
        """Records there will be."""
        return len(self.index)

    @property
    def num_failed(self) -> int:
        """Records that are there and not good."""
        return self._num_done - self._num_ok

    @property
    def num_ok(self) -> int:
        """Records that are there and good."""
        return self._num_ok

    @property
    def is_due(self) -> bool:
        """Whether it is time to show the state again."""
        return self._clock() >= self._next_display

    def add(self, index: int, *, ok: bool) -> int:
        """Count a record; returns its position in ``index``."""
        row = int(self.index.searchsorted(index))
        self._num_done += not self.done[row]
        self._num_ok += ok - int(self.ok[row])
        self.done[row] = True
        self.ok[row] = ok
        return row

    def begin(self, workers: RunnerStatus) -> tuple[float, ProgressState]:
        """Start making a display: the time, and the part of the state that follows from counts."""
        now = self._clock()
        per_second, eta_s = self._rate.update(self.num_done, self.num_total, now)
        return now, ProgressState(
            num_done=self.num_done,
            num_total=self.num_total,
            num_failed=self.num_failed,
            per_second=per_second,
            eta_s=eta_s,
            num_workers=workers.num_alive,
            num_worker_deaths=workers.num_deaths,
        )

    def end(self, began: float) -> None:
        """End making a display: the longer it took, the later the next one."""
        # With many records the estimate is slow; showing it must not take a noticeable share.
        now = self._clock()
        self._next_display = now + max(DISPLAY_INTERVAL_S, (now - began) / _DISPLAY_SHARE)


class _Stored(Protocol):
    """A table of records."""

    @property
    def index(self) -> IntArray:
        """Indices, shape (records,)."""

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """Which are good, shape (records,)."""


class CountProgress:
    """A ``ProgressTracker`` that counts."""

    def __init__(
        self,
        stored: _Stored,
        indices: Sequence[int],
        *,
        unit: str,
        title: str,
        name: Callable[[int], str],
        clock: Callable[[], float],
    ) -> None:
        """Start with the stored records.

        Args:
            stored: Stored records of those asked for.
            indices: Records that will be evaluated.
            unit: What they are called, in the plural.
            title: Text that the display shows beside the numbers.
            name: Index -> how messages name a record.
            clock: Monotonic seconds.
        """
        self._unit, self._title, self._name = unit, title, name
        self._counter = Counter(stored.index, stored.ok, indices, clock)

    @property
    def num_total(self) -> int:
        """See ``ProgressTracker``."""
        return self._counter.num_total

    @property
    def is_due(self) -> bool:
        """See ``ProgressTracker``."""
        return self._counter.is_due

    def name(self, row: Row) -> str:
        """See ``ProgressTracker``."""
        return self._name(row.index)

    def add(self, batch: Sequence[Row]) -> None:
        """See ``ProgressTracker``."""
        for row in batch:
            self._counter.add(row.index, ok=row.status == "ok")

    def state(self, workers: RunnerStatus) -> ProgressState:
        """See ``ProgressTracker``."""
        began, state = self._counter.begin(workers)
        self._counter.end(began)
        return replace(state, unit=self._unit, title=self._title)
