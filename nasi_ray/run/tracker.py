"""The records so far, for a progress display."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from nasi_ray.arrays import IntArray
from nasi_ray.progress import ProgressState
from nasi_ray.runner import RunnerStatus

_DISPLAY_INTERVAL_S = 0.5
_DISPLAY_SHARE = 0.01
_RATE_WINDOW_S = 30.0

R_contra = TypeVar("R_contra", contravariant=True)


class Board(Protocol[R_contra]):
    """The records so far, and what a progress display shows of them."""

    @property
    def num_total(self) -> int:
        """Records there will be."""

    @property
    def is_due(self) -> bool:
        """Whether it is time to show the state again."""

    def name(self, row: R_contra) -> str:
        """What messages call a record: ``sample 3``."""

    def add(self, batch: Sequence[R_contra]) -> None:
        """Take records."""

    def state(self, workers: RunnerStatus) -> ProgressState:
        """What to show now."""


class Tally:
    """Which records are there, how fast they come, and when to show it next."""

    def __init__(
        self,
        stored: IntArray,
        is_ok: npt.NDArray[np.bool_],
        indices: Sequence[int],
        clock: Callable[[], float],
    ) -> None:
        """Count.

        Args:
            stored: Sorted indices of the records that are there already, shape (stored,).
            is_ok: Which of those are good, shape (stored,).
            indices: What will be evaluated.
            clock: Seconds that never go back.
        """
        self._clock = clock
        self.index = np.union1d(stored, np.asarray(indices, dtype=np.int64))
        """What there will be, sorted."""
        self.done = np.isin(self.index, stored)
        """Which of it is there."""
        self.ok = np.zeros(len(self.index), dtype=np.bool_)
        """Which of it is there and good."""
        self.ok[self.done] = is_ok
        self._num_done = int(self.done.sum())
        self._num_ok = int(self.ok.sum())
        self._arrivals: deque[tuple[float, int]] = deque([(clock(), self._num_done)])
        self._next_display = clock()

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
        """Take a record; returns its position in ``index``."""
        row = int(self.index.searchsorted(index))
        self._num_done += not self.done[row]
        self._num_ok += ok - int(self.ok[row])
        self.done[row] = True
        self.ok[row] = ok
        return row

    def begin(self) -> tuple[float, float | None, float | None]:
        """Begin to make a display: the time, records a second, and seconds left."""
        now = self._clock()
        rate = self._rate(now)
        left = self.num_total - self.num_done
        return now, rate, left / rate if rate else None

    def end(self, began: float) -> None:
        """End it: the longer it took to make, the later the next one."""
        # A long history makes the estimate slow; showing it must not take a noticeable share.
        now = self._clock()
        self._next_display = now + max(_DISPLAY_INTERVAL_S, (now - began) / _DISPLAY_SHARE)

    def _rate(self, now: float) -> float | None:
        self._arrivals.append((now, self.num_done))
        while len(self._arrivals) > 2 and now - self._arrivals[0][0] > _RATE_WINDOW_S:
            self._arrivals.popleft()
        since, before = self._arrivals[0]
        return (self.num_done - before) / (now - since) if self.num_done > before else None
