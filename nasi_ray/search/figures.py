"""The figures of a search, for Weights & Biases, MLflow and TensorBoard."""

from __future__ import annotations

from typing import Any

import numpy as np

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.run.identity import digest_of
from nasi_ray.run.services import Point
from nasi_ray.run.tracking import Tracked, Tracking, summary_of, tracked_settings
from nasi_ray.search.result import SearchResult, estimate_settings
from nasi_ray.search.settings import SearchJob
from nasi_ray.storage import open_storage

_MAX_POINTS = 200
_NOT_FIGURES = ("schema", "space", "seed", "objective", "estimator", "method", "pairing")


def send_search(
    tracking: Tracking, job: SearchJob, result: SearchResult, *, group: str = ""
) -> None:
    """Send a search that has ended.

    Args:
        tracking: Who is told.
        job: Its settings.
        result: Its result.
        group: What it is part of.
    """
    if not tracking.is_live:
        return
    asked = {"estimate": estimate_settings(job.estimate), "stop": job.stop_when_stable}
    run = Tracked(
        storage=open_storage(result.uri),
        settings=tracked_settings(job),
        group=group,
        answer=digest_of(asked),
    )
    tracking.send(run, curve_of(result), search_summary(result))


def search_summary(result: SearchResult) -> dict[str, Any]:
    """The final figures, named as in ``result.json``, and the cell as text."""
    return {
        **summary_of(result.content, but=_NOT_FIGURES),
        "architecture": result.architecture.to_string(),
    }


def curve_of(result: SearchResult) -> list[Point]:
    """Means over the first samples, at no more than 200 numbers of samples.

    Returns:
        Number of samples -> ``mean_e``, and ``mean_NAME`` of all else that was measured, over the
        good ones of them.
    """
    used = result.records.below(result.num_samples)
    columns: dict[str, tuple[IntArray, FloatArray]] = {}
    if used.samples is not None:
        table = used.samples
        columns["mean_e"] = table.index, np.where(table.ok, table.trace_norm, np.nan)
    for measured in used.measurements.values():
        columns |= {f"mean_{k}": (measured.index, v) for k, v in measured.values.items()}
    found: dict[int, dict[str, float]] = {}
    for name, (index, values) in columns.items():
        is_good = np.isfinite(values)
        count = np.cumsum(is_good)
        sums = np.cumsum(np.where(is_good, values, 0.0))
        for row in _rows(len(values)):
            if count[row]:
                found.setdefault(int(index[row]) + 1, {})[name] = float(sums[row] / count[row])
    return sorted(found.items())


def _rows(count: int) -> IntArray:
    return np.unique(np.linspace(0, count - 1, min(count, _MAX_POINTS)).astype(np.int64))
