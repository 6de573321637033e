"""Signed correlations with bootstrap intervals: within every seed, and their mean over seeds.

Seeds are not pooled: each has parameters θ0 of its own, which set the scale of its e.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from nasi_ray.records import FloatArray

Kind = Literal["pearson", "spearman", "kendall"]
Pairs = tuple[FloatArray, FloatArray]
"""x and y of one seed, each of shape (samples,)."""

CONFIDENCE = 0.95
NUM_RESAMPLES = 1000
_MIN_PAIRS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Correlation:
    """A coefficient in [-1, 1] and its interval; NaN where it is not defined."""

    value: float
    low: float
    """Lower end of the 95 % percentile bootstrap interval."""
    high: float
    """Upper end."""
    per_seed: tuple[float, ...]
    """The coefficient of every seed; ``value`` is the mean of those that are defined."""
    num_pairs: int
    """Pairs of all seeds together."""


def correlate(seeds: Sequence[Pairs], kind: Kind) -> Correlation:
    """Correlate x with y within every seed, and average over the seeds.

    The interval is of the mean over these very seeds: pairs are drawn again within every seed.
    It knows of the draw of architectures and batches, not of the draw of θ0, which the spread of
    ``per_seed`` shows.

    Args:
        seeds: x and y of every seed; finite numbers.
        kind: ``pearson``, ``spearman`` or ``kendall`` (τ-b).

    Returns:
        NaN for a seed with fewer than 3 pairs or a constant x or y.
    """
    per_seed, resampled = [], []
    for position, (x, y) in enumerate(seeds):
        value, distribution = _with_resamples(x, y, kind, position)
        per_seed.append(value)
        if np.isfinite(value):
            resampled.append(distribution)
    tail = (1 - CONFIDENCE) / 2
    # A resample in which all pairs are one has no coefficient; it is left out.
    means = np.mean(resampled, axis=0) if resampled else np.empty(0)
    means = means[np.isfinite(means)]
    low, high = np.quantile(means, [tail, 1 - tail]) if len(means) else (np.nan, np.nan)
    defined = [value for value in per_seed if np.isfinite(value)]
    return Correlation(
        value=float(np.mean(defined)) if defined else float("nan"),
        low=float(low),
        high=float(high),
        per_seed=tuple(per_seed),
        num_pairs=sum(len(x) for x, _ in seeds),
    )


def _with_resamples(
    x: FloatArray, y: FloatArray, kind: Kind, position: int
) -> tuple[float, FloatArray]:
    if len(x) != len(y):
        raise ValueError(f"{len(x)} numbers cannot be paired with {len(y)}")
    if len(x) < _MIN_PAIRS:
        return float("nan"), np.full(NUM_RESAMPLES, np.nan)
    # The same numbers always get the same interval.
    rng = np.random.default_rng([len(x), position])
    rows = rng.integers(len(x), size=(NUM_RESAMPLES, len(x)))
    coefficient = _COEFFICIENTS[kind]
    return float(coefficient(x[None], y[None])[0]), coefficient(x[rows], y[rows])


def _pearson(x: FloatArray, y: FloatArray) -> FloatArray:
    """Coefficient of every row, shape (rows, pairs) -> (rows,); NaN where a row is constant."""
    is_constant = (np.ptp(x, axis=1) == 0) | (np.ptp(y, axis=1) == 0)
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    product = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    found = np.full(len(x), np.nan)
    np.divide((x * y).sum(axis=1), product, out=found, where=~is_constant & (product > 0))
    clipped: FloatArray = np.clip(found, -1.0, 1.0)
    return clipped


def _spearman(x: FloatArray, y: FloatArray) -> FloatArray:
    return _pearson(stats.rankdata(x, axis=1), stats.rankdata(y, axis=1))


def _kendall(x: FloatArray, y: FloatArray) -> FloatArray:
    is_constant = (np.ptp(x, axis=1) == 0) | (np.ptp(y, axis=1) == 0)
    return np.array(
        [
            np.nan if constant else stats.kendalltau(row_x, row_y).statistic
            for row_x, row_y, constant in zip(x, y, is_constant, strict=True)
        ]
    )


_COEFFICIENTS: dict[Kind, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "pearson": _pearson,
    "spearman": _spearman,
    "kendall": _kendall,
}
