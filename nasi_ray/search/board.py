"""The samples so far, for a progress display."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from nasi_ray.config import EstimateConfig
from nasi_ray.errors import NasiRayError
from nasi_ray.nasi.estimator import estimate, margins
from nasi_ray.progress import ProgressState
from nasi_ray.records import Sample, SampleTable
from nasi_ray.runner import Runner
from nasi_ray.spaces.base import SearchSpace

_DISPLAY_INTERVAL_S = 0.5
_DISPLAY_SHARE = 0.01
_RATE_WINDOW_S = 30.0
_MAX_SHOWN = 20_000


class Board:
    """The samples so far, and what a progress display shows of them.

    Gradients are kept of the first ``_MAX_SHOWN`` indices only: the smallest margin that is shown
    comes from those, so that neither memory nor time grows with a search of millions.
    """

    def __init__(
        self,
        stored: SampleTable,
        indices: Sequence[int],
        space: SearchSpace,
        config: EstimateConfig,
        clock: Callable[[], float],
    ) -> None:
        self._space, self._config, self._clock = space, config, clock
        rows = np.union1d(stored.index, np.asarray(indices, dtype=np.int64))
        self._index = rows
        self._done = np.isin(rows, stored.index)
        self._num_done = int(self._done.sum())
        self._ok = np.zeros(len(rows), dtype=np.bool_)
        self._trace_norm = np.full(len(rows), np.nan)
        self._grad = np.full((min(len(rows), _MAX_SHOWN), space.num_logits), np.nan)
        self._ok[self._done] = stored.ok
        self._trace_norm[self._done] = stored.trace_norm
        shown = self._done[:_MAX_SHOWN]
        self._grad[shown] = stored.grad[: int(shown.sum())]
        self._arrivals: deque[tuple[float, int]] = deque([(clock(), self.num_done)])
        self._next_display = clock()

    @property
    def num_done(self) -> int:
        """Samples that are there."""
        return self._num_done

    @property
    def num_total(self) -> int:
        """Samples there will be."""
        return len(self._index)

    @property
    def is_due(self) -> bool:
        """Whether it is time to show the state again."""
        return self._clock() >= self._next_display

    def add(self, batch: Sequence[Sample]) -> None:
        """Take samples."""
        for sample in batch:
            row = int(self._index.searchsorted(sample.index))
            self._num_done += not self._done[row]
            self._done[row] = True
            self._ok[row] = sample.status == "ok"
            self._trace_norm[row] = sample.trace_norm
            if row < len(self._grad):
                self._grad[row] = sample.grad

    def state(self, runner: Runner[Sample]) -> ProgressState:
        """What to show now."""
        start = self._clock()
        rate = self._rate(start)
        left = self.num_total - self.num_done
        e = self._trace_norm[self._ok]
        workers = runner.status()
        state = ProgressState(
            num_done=self.num_done,
            num_total=self.num_total,
            num_failed=int((self._done & ~self._ok).sum()),
            samples_per_s=rate,
            eta_s=left / rate if rate else None,
            num_workers=workers.num_alive,
            num_worker_deaths=workers.num_deaths,
            mean_trace_norm=float(e.mean()) if len(e) else None,
            smallest_margin=self._smallest_margin(),
        )
        # A long history makes the estimate slow; showing it must not take a noticeable share.
        now = self._clock()
        self._next_display = now + max(_DISPLAY_INTERVAL_S, (now - start) / _DISPLAY_SHARE)
        return state

    def _rate(self, now: float) -> float | None:
        self._arrivals.append((now, self.num_done))
        while len(self._arrivals) > 2 and now - self._arrivals[0][0] > _RATE_WINDOW_S:
            self._arrivals.popleft()
        since, before = self._arrivals[0]
        return (self.num_done - before) / (now - since) if self.num_done > before else None

    def _smallest_margin(self) -> tuple[str, float, float] | None:
        shown = np.flatnonzero(self._done[:_MAX_SHOWN])
        table = SampleTable(
            index=self._index[shown],
            ok=self._ok[shown],
            trace_norm=self._trace_norm[shown],
            grad=self._grad[shown],
            seconds=np.zeros(len(shown)),
        )
        try:
            found = margins(estimate(table, self._config), self._space)
        except NasiRayError:
            return None
        name = min(found, key=lambda name: found[name].value)
        return name, found[name].value, found[name].standard_error
