"""What a run exports through Ray's metrics agent, as ``ray_nasi_*``; no run fails on them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ray.util.metrics import Counter, Gauge

from nasi_ray.progress import Progress, ProgressState

COUNTERS = {
    "nasi_samples": "Samples evaluated.",
    "nasi_samples_requeued": "Samples given out again.",
    "nasi_worker_deaths": "Workers lost.",
}
GAUGES = {
    "nasi_workers_live": "Workers able to take work.",
    "nasi_workers_target": "Workers wanted.",
}
STATES = {
    "nasi_done": "What a job has done, in its unit.",
    "nasi_total": "What there is to do.",
    "nasi_failed": "What of it failed.",
    "nasi_per_second": "How much is done a second, over the last half minute.",
    "nasi_mean_trace_norm": "Mean e of the good samples.",
}
"""Gauges of a job's progress, with the tag ``unit``: samples, scores, searches, steps, ..."""


class PoolMetrics:
    """Counts of the pool; does nothing if Ray cannot export them."""

    def __init__(self) -> None:
        self._reported: dict[str, int] = {}
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}

        def make() -> None:
            self._counters |= {name: Counter(name, about) for name, about in COUNTERS.items()}
            self._gauges |= {name: Gauge(name, about) for name, about in GAUGES.items()}

        _try(make)

    def report(self, *, samples: int, requeued: int, deaths: int, live: int, target: int) -> None:
        """Export totals since the pool began (samples, requeued, deaths) and current numbers."""
        totals = dict(zip(COUNTERS, (samples, requeued, deaths), strict=True))
        current = dict(zip(GAUGES, (live, target), strict=True))

        def export() -> None:
            for name, counter in self._counters.items():
                more = totals[name] - self._reported.get(name, 0)
                if more > 0:
                    counter.inc(more)
                    self._reported[name] = totals[name]
            for name, gauge in self._gauges.items():
                gauge.set(current[name])

        _try(export)


class ExportedProgress:
    """A display that also exports what it shows."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._gauges: dict[str, Gauge] = {}

        def make() -> None:
            tags = ("unit",)
            self._gauges |= {name: Gauge(name, what, tags) for name, what in STATES.items()}

        _try(make)

    def update(self, state: ProgressState) -> None:
        """Show and export the state; what is not known is not exported."""
        values = (
            state.num_done,
            state.num_total,
            state.num_failed,
            state.per_second,
            state.mean_trace_norm,
        )

        def export() -> None:
            for gauge, value in zip(self._gauges.values(), values, strict=False):
                if value is not None:
                    gauge.set(value, {"unit": state.unit})

        _try(export)
        self._progress.update(state)

    def message(self, text: str) -> None:
        """Show a line."""
        self._progress.message(text)

    def close(self) -> None:
        """Close the display."""
        self._progress.close()


def _try(call: Callable[[], None]) -> None:
    try:
        call()
    except Exception:
        logging.getLogger(__name__).debug("no metrics", exc_info=True)
