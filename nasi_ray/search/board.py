"""The records so far, for a progress display."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from nasi_ray.config import EstimateConfig
from nasi_ray.errors import NasiRayError
from nasi_ray.nasi.estimator import estimate, margins
from nasi_ray.progress import ProgressState
from nasi_ray.records import IntArray, Sample, SampleTable
from nasi_ray.runner import RunnerStatus
from nasi_ray.spaces.base import SearchSpace

_DISPLAY_INTERVAL_S = 0.5
_DISPLAY_SHARE = 0.01
_RATE_WINDOW_S = 30.0
_MAX_SHOWN = 20_000
# The estimate is over all samples: it is made anew once there are so many times more of them, so
# that in all it costs each sample the same, however slowly they come.
_GROWTH = 1.1

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


class SampleBoard:
    """The ``Board`` of a search.

    Gradients are kept of the first ``_MAX_SHOWN`` indices only: the smallest margin that is shown
    comes from those, so that neither memory nor time grows with a search of millions. It is that of
    a moment ago, when there were up to a tenth fewer samples, except at the end.
    """

    def __init__(
        self,
        stored: SampleTable,
        indices: Sequence[int],
        space: SearchSpace,
        config: EstimateConfig,
        clock: Callable[[], float],
    ) -> None:
        self._space, self._config = space, config
        self._tally = tally = Tally(stored.index, stored.ok, indices, clock)
        self._trace_norm = np.full(min(tally.num_total, _MAX_SHOWN), np.nan)
        self._sum_of_e = float(stored.trace_norm[stored.ok].sum())
        self._margin: tuple[str, float, float] | None = None
        self._margin_at = 0
        self._grad = np.full((min(tally.num_total, _MAX_SHOWN), space.num_logits), np.nan)
        shown = tally.done[:_MAX_SHOWN]
        num_shown = int(shown.sum())
        self._trace_norm[shown] = stored.trace_norm[:num_shown]
        self._grad[shown] = stored.grad[:num_shown]

    @property
    def num_total(self) -> int:
        """See ``Board``."""
        return self._tally.num_total

    @property
    def is_due(self) -> bool:
        """See ``Board``."""
        return self._tally.is_due

    def name(self, row: Sample) -> str:
        """See ``Board``."""
        return f"sample {row.index}"

    def add(self, batch: Sequence[Sample]) -> None:
        """See ``Board``."""
        for sample in batch:
            is_ok = sample.status == "ok"
            row = self._tally.add(sample.index, ok=is_ok)
            if is_ok:
                self._sum_of_e += sample.trace_norm
            if row < len(self._grad):
                self._trace_norm[row] = sample.trace_norm
                self._grad[row] = sample.grad

    def state(self, workers: RunnerStatus) -> ProgressState:
        """See ``Board``."""
        tally = self._tally
        began, rate, eta_s = tally.begin()
        is_last = tally.num_done == tally.num_total
        if is_last or tally.num_done >= _GROWTH * self._margin_at:
            self._margin, self._margin_at = self._smallest_margin(), tally.num_done
        state = ProgressState(
            num_done=tally.num_done,
            num_total=tally.num_total,
            num_failed=tally.num_failed,
            samples_per_s=rate,
            eta_s=eta_s,
            num_workers=workers.num_alive,
            num_worker_deaths=workers.num_deaths,
            mean_trace_norm=self._sum_of_e / tally.num_ok if tally.num_ok else None,
            smallest_margin=self._margin,
        )
        tally.end(began)
        return state

    def _smallest_margin(self) -> tuple[str, float, float] | None:
        shown = np.flatnonzero(self._tally.done[:_MAX_SHOWN])
        table = SampleTable(
            index=self._tally.index[shown],
            ok=self._tally.ok[shown],
            trace_norm=self._trace_norm[shown],
            grad=self._grad[shown],
            seconds=np.zeros(len(shown)),
            choices=np.empty((len(shown), 0), dtype=np.int16),
        )
        try:
            found = margins(estimate(table, self._config), self._space)
        except NasiRayError:
            return None
        name = min(found, key=lambda name: found[name].value)
        return name, found[name].value, found[name].standard_error
