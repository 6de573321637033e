"""Signed correlations with bootstrap intervals: within every seed, and their mean over seeds.

Seeds are not pooled: each may have one θ0 for all of its samples, which sets the scale of e.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.statistics import COEFFICIENTS, Kind, percentile_interval

Pairs = tuple[FloatArray, FloatArray]
"""x and y of one seed, each of shape (samples,)."""

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
    It knows of the draw of architectures and batches, not of a θ0 that a seed has for all of them,
    which the spread of ``per_seed`` shows.

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
    means = np.mean(resampled, axis=0) if resampled else np.empty(0)
    low, high = percentile_interval(means) or (float("nan"), float("nan"))
    defined = [value for value in per_seed if np.isfinite(value)]
    return Correlation(
        value=float(np.mean(defined)) if defined else float("nan"),
        low=low,
        high=high,
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
    coefficient = COEFFICIENTS[kind]
    return float(coefficient(x[None], y[None])[0]), coefficient(x[rows], y[rows])
