"""How well scores rank architectures: signed rank correlations, their intervals, deciles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nasi_ray import statistics as correlation
from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.statistics import percentile_interval

_MAX_BLOCK = 2_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Correlation:
    """A rank correlation with its bootstrap percentile interval."""

    value: float | None
    """In [-1, 1]; None where it is not defined (fewer than 2 pairs, or a constant)."""
    low: float | None
    """Lower end of the interval; None where it is not defined, or was not asked for."""
    high: float | None
    """Upper end."""
    n: int
    """Pairs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decile:
    """Architectures that a score ranks next to each other (Figure 3 of the paper)."""

    num: int
    """Architectures."""
    score: float
    """Their mean score."""
    error: float
    """Their mean test error."""
    std: float
    """Standard deviation of their errors (over the group, not of the mean)."""


def spearman(x: FloatArray, y: FloatArray) -> float | None:
    """Spearman's ρ, with mean ranks for ties; None where it is not defined.

    Args:
        x: shape (n,), finite
        y: shape (n,), finite
    """
    return _defined(float(correlation.spearman(x[None], y[None])[0])) if len(x) > 1 else None


def kendall(x: FloatArray, y: FloatArray) -> float | None:
    """Kendall's τ_b; arguments as ``spearman``."""
    return _defined(float(correlation.kendall(x[None], y[None])[0])) if len(x) > 1 else None


def correlations(
    x: FloatArray, y: FloatArray, *, num_bootstrap: int = 1000, seed: int = 0
) -> tuple[Correlation, Correlation]:
    """Spearman's ρ and Kendall's τ_b of two lists of numbers, with 95 % bootstrap intervals.

    Pairs are drawn with replacement, the same draws for both; draws in which a correlation is not
    defined (all of one value) are left out of its interval.

    Args:
        x: Scores, shape (n,), finite.
        y: Accuracies, shape (n,), finite.
        num_bootstrap: Draws (≥ 0); with 0 there is no interval.
        seed: Of the draws (≥ 0).

    Returns:
        ρ and τ_b.
    """
    rng = np.random.default_rng(seed)
    n = len(x)
    rhos, taus = [np.empty(0)], [np.empty(0)]
    block = max(1, _MAX_BLOCK // max(n, 1))
    for start in range(0, num_bootstrap if n > 1 else 0, block):
        drawn: IntArray = rng.integers(n, size=(min(block, num_bootstrap - start), n))
        rhos.append(correlation.spearman(x[drawn], y[drawn]))
        taus.append(correlation.kendall(x[drawn], y[drawn]))
    return (
        _with_interval(spearman(x, y), np.concatenate(rhos), n),
        _with_interval(kendall(x, y), np.concatenate(taus), n),
    )


def deciles(score: FloatArray, error: FloatArray, *, num_groups: int = 10) -> list[Decile]:
    """Mean error by tenth of the score, lowest score first.

    Groups differ by at most one in size; ties keep the order given.

    Args:
        score: shape (n,), finite
        error: shape (n,), finite
        num_groups: At most so many groups (≥ 1); fewer where there are fewer architectures.
    """
    order = np.argsort(score, kind="stable")
    groups = np.array_split(order, min(num_groups, len(order))) if len(order) else []
    return [
        Decile(
            num=len(rows),
            score=float(score[rows].mean()),
            error=float(error[rows].mean()),
            std=float(error[rows].std()),
        )
        for rows in groups
    ]


def mean_over_seeds(scores: FloatArray) -> FloatArray:
    """One score per architecture; missing where any seed's is.

    Args:
        scores: shape (seeds, architectures), NaN where missing

    Returns:
        shape (architectures,), NaN where missing
    """
    mean: FloatArray = scores.mean(axis=0)
    return mean


def seed_agreement(
    scores: FloatArray, measure: Callable[[FloatArray, FloatArray], float | None] = spearman
) -> float | None:
    """Mean correlation of the rankings of each two seeds; None with fewer than two.

    Args:
        scores: shape (seeds, architectures), NaN where missing
        measure: The correlation.
    """
    found = []
    for i in range(len(scores)):
        for j in range(i):
            there = np.isfinite(scores[i]) & np.isfinite(scores[j])
            value = measure(scores[i, there], scores[j, there])
            if value is not None:
                found.append(value)
    return float(np.mean(found)) if found else None


def _defined(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _with_interval(value: float | None, draws: FloatArray, n: int) -> Correlation:
    interval = percentile_interval(draws) if value is not None else None
    low, high = interval or (None, None)
    return Correlation(value=value, low=low, high=high, n=n)
