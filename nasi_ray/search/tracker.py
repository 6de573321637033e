"""The samples so far, for a progress display."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nasi_ray.config import EstimateConfig
from nasi_ray.errors import NasiRayError
from nasi_ray.nasi.estimator import estimate, margins
from nasi_ray.progress import ProgressState
from nasi_ray.records.rows import Sample, SampleTable
from nasi_ray.run.tracker import Tally
from nasi_ray.runner import RunnerStatus
from nasi_ray.spaces.base import SearchSpace

_MAX_SHOWN = 20_000
# The estimate is over all samples: it is made anew once there are so many times more of them, so
# that in all it costs each sample the same, however slowly they come.
_GROWTH = 1.1


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
