"""Progress of a search's samples, for a display."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from nasi_ray.config import EstimateConfig
from nasi_ray.errors import NasiRayError
from nasi_ray.nasi.estimator import estimate, margins
from nasi_ray.progress import ProgressState
from nasi_ray.records.rows import Sample, SampleTable
from nasi_ray.run.tracker import Counter
from nasi_ray.runner import RunnerStatus
from nasi_ray.spaces.base import SearchSpace

_MAX_SHOWN = 20_000
# The estimate uses all samples. It is repeated when their number has grown by this factor, so that
# its cost per sample stays constant, however slowly samples arrive.
_GROWTH = 1.1


class SampleProgress:
    """The ``ProgressTracker`` of a search.

    It keeps the gradients of the first ``_MAX_SHOWN`` indices only, and shows the smallest margin
    of those, so that memory and time stay bounded with millions of samples. Except at the end, the
    margin shown can be older, from when there were up to a tenth fewer samples.
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
        self._counter = counter = Counter(stored.index, stored.ok, indices, clock)
        self._trace_norm = np.full(min(counter.num_total, _MAX_SHOWN), np.nan)
        self._sum_of_e = float(stored.trace_norm[stored.ok].sum())
        self._margin: tuple[str, float, float] | None = None
        self._margin_at = 0
        self._grad = np.full((min(counter.num_total, _MAX_SHOWN), space.num_logits), np.nan)
        shown = counter.done[:_MAX_SHOWN]
        num_shown = int(shown.sum())
        self._trace_norm[shown] = stored.trace_norm[:num_shown]
        self._grad[shown] = stored.grad[:num_shown]

    @property
    def num_total(self) -> int:
        """See ``ProgressTracker``."""
        return self._counter.num_total

    @property
    def is_due(self) -> bool:
        """See ``ProgressTracker``."""
        return self._counter.is_due

    def name(self, row: Sample) -> str:
        """See ``ProgressTracker``."""
        return f"sample {row.index}"

    def add(self, batch: Sequence[Sample]) -> None:
        """See ``ProgressTracker``."""
        for sample in batch:
            is_ok = sample.status == "ok"
            row = self._counter.add(sample.index, ok=is_ok)
            if is_ok:
                self._sum_of_e += sample.trace_norm
            if row < len(self._grad):
                self._trace_norm[row] = sample.trace_norm
                self._grad[row] = sample.grad

    def state(self, workers: RunnerStatus) -> ProgressState:
        """See ``ProgressTracker``."""
        counter = self._counter
        began, state = counter.begin(workers)
        is_last = counter.num_done == counter.num_total
        if is_last or counter.num_done >= _GROWTH * self._margin_at:
            self._margin, self._margin_at = self._smallest_margin(), counter.num_done
        mean = self._sum_of_e / counter.num_ok if counter.num_ok else None
        counter.end(began)
        return replace(state, mean_trace_norm=mean, smallest_margin=self._margin)

    def _smallest_margin(self) -> tuple[str, float, float] | None:
        shown = np.flatnonzero(self._counter.done[:_MAX_SHOWN])
        table = SampleTable(
            index=self._counter.index[shown],
            ok=self._counter.ok[shown],
            trace_norm=self._trace_norm[shown],
            grad=self._grad[shown],
            seconds=np.zeros(len(shown)),
            choices=np.empty((len(shown), 0), dtype=np.int16),
        )
        try:
            found = margins(estimate(table, self._config), self._space, with_probability=False)
        except NasiRayError:
            return None
        name = min(found, key=lambda name: found[name].value)
        return name, found[name].value, found[name].standard_error
