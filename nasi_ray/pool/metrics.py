"""Counters and gauges of the pool, exported by Ray's metrics agent; a run never fails on them."""

from __future__ import annotations

import logging

from ray.util.metrics import Counter, Gauge


class PoolMetrics:
    """``ray_nasi_*`` metrics; does nothing if Ray cannot export them."""

    def __init__(self) -> None:
        self._reported: dict[str, int] = {}
        try:
            self._counters = {
                "samples": Counter("nasi_samples", "Samples evaluated."),
                "requeued": Counter("nasi_samples_requeued", "Samples given out again."),
                "deaths": Counter("nasi_worker_deaths", "Workers lost."),
            }
            self._gauges = {
                "live": Gauge("nasi_workers_live", "Workers able to take work."),
                "target": Gauge("nasi_workers_target", "Workers wanted."),
            }
        except Exception:
            logging.getLogger(__name__).debug("no metrics", exc_info=True)
            self._counters, self._gauges = {}, {}

    def report(self, *, samples: int, requeued: int, deaths: int, live: int, target: int) -> None:
        """Export totals since the pool began (samples, requeued, deaths) and current numbers."""
        totals = {"samples": samples, "requeued": requeued, "deaths": deaths}
        current = {"live": live, "target": target}
        try:
            for name, counter in self._counters.items():
                more = totals[name] - self._reported.get(name, 0)
                if more > 0:
                    counter.inc(more)
                    self._reported[name] = totals[name]
            for name, gauge in self._gauges.items():
                gauge.set(current[name])
        except Exception:
            logging.getLogger(__name__).debug("no metrics", exc_info=True)
