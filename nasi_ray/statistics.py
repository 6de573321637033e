"""Statistics of all jobs: correlations with bootstrap intervals, deciles, means over seeds.

Where a number is not defined it is NaN in memory and null in JSON (``finite_or_none``).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nasi_ray.arrays import FloatArray, IntArray

Kind = Literal["pearson", "spearman", "kendall"]

Pairs = tuple[FloatArray, FloatArray]
"""x and y of one seed, shape (pairs,) each, finite."""

CONFIDENCE = 0.95
NUM_RESAMPLES = 1000
"""Bootstrap draws of an interval, where nothing else is asked for."""
SIGNIFICANT_AT = 2.0
"""A margin is significant from this many standard errors on."""

DECIDED_AT = 0.95
"""A decision is made if it stands in this share of bootstrap draws."""

_MIN_PAIRS_OF_A_SEED = 3
_MAX_BLOCK = 2_000_000
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class Correlation:
    """A coefficient in [-1, 1] with its bootstrap percentile interval; NaN where not defined."""

    value: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end."""
    per_seed: tuple[float, ...] = ()
    """The coefficient of every seed, if ``value`` is the mean of those that are defined."""
    num_pairs: int
    """Pairs, of all seeds together."""


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


def finite_or_none(value: float) -> float | None:
    """A number for JSON, which has neither NaN nor infinity."""
    return value if np.isfinite(value) else None


def coefficients(x: FloatArray, y: FloatArray, kind: Kind) -> FloatArray:
    """Correlate many pairs of rows at once.

    Args:
        x: shape (rows, pairs), finite
        y: shape (rows, pairs), finite
        kind: Pearson's r, Spearman's ρ (mean ranks for ties), or Kendall's τ_b.

    Returns:
        shape (rows,), in [-1, 1]; NaN where x or y is constant
    """
    if kind == "pearson":
        return _pearson(x, y)
    if kind == "kendall":
        return np.array([_tau_b(row_x, row_y) for row_x, row_y in zip(x, y, strict=True)])
    from scipy import stats  # takes long to import

    return _pearson(stats.rankdata(x, axis=1), stats.rankdata(y, axis=1))


def coefficient(x: FloatArray, y: FloatArray, kind: Kind) -> float:
    """Correlate two lists of numbers, shape (pairs,) each; NaN with fewer than two pairs."""
    return float(coefficients(x[None], y[None], kind)[0]) if len(x) > 1 else float("nan")


def partial_spearman(x: FloatArray, y: FloatArray, given: FloatArray) -> float:
    """Spearman's ρ of x and y with a third quantity held fixed.

    The partial correlation of the ranks: (ρ_xy - ρ_xz ρ_yz) / √((1 - ρ_xz²)(1 - ρ_yz²)), z being
    what is given.

    Args:
        x: shape (pairs,), finite
        y: shape (pairs,), finite
        given: shape (pairs,), finite

    Returns:
        In [-1, 1]. ρ of x and y if the third is constant; NaN if it has the order of x or y (or the
        reverse), x or y is constant, or there are fewer than three pairs.
    """
    if len(x) < _MIN_PAIRS_OF_A_SEED:
        return float("nan")
    return float(_partials(x[None], y[None], given[None])[0])


def partial_correlation(
    x: FloatArray,
    y: FloatArray,
    given: FloatArray,
    *,
    num_bootstrap: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Correlation:
    """``partial_spearman`` with its 95 % bootstrap interval.

    Triples are drawn with replacement; draws in which it is not defined are left out.

    Args:
        x: shape (pairs,), finite
        y: shape (pairs,), finite
        given: shape (pairs,), finite
        num_bootstrap: Draws (≥ 0); with 0 there is no interval.
        seed: Of the draws (≥ 0).
    """
    value = partial_spearman(x, y, given)
    num_draws = num_bootstrap if np.isfinite(value) else 0
    draws = [
        _partials(x[rows], y[rows], given[rows])
        for rows in _resamples(len(x), num_draws, np.random.default_rng(seed))
    ]
    low, high = percentile_interval(np.concatenate([np.empty(0), *draws]))
    return Correlation(value=value, low=low, high=high, num_pairs=len(x))


def _partials(x: FloatArray, y: FloatArray, given: FloatArray) -> FloatArray:
    """``partial_spearman`` of many rows at once, shape (rows, pairs) each."""
    from scipy import stats

    x, y, z = (stats.rankdata(of, axis=1) for of in (x, y, given))
    rho, rho_x, rho_y = _pearson(x, y), _pearson(x, z), _pearson(y, z)
    left = (1 - rho_x**2) * (1 - rho_y**2)
    found = np.full(len(x), np.nan)
    np.divide(
        rho - rho_x * rho_y, np.sqrt(np.maximum(left, 0.0)), out=found, where=left > _ROUNDING
    )
    clipped: FloatArray = np.clip(found, -1.0, 1.0)
    return np.where(np.ptp(z, axis=1) == 0, rho, clipped)


def rank_correlations(
    x: FloatArray, y: FloatArray, *, num_bootstrap: int = NUM_RESAMPLES, seed: int = 0
) -> tuple[Correlation, Correlation]:
    """Spearman's ρ and Kendall's τ_b of two lists of numbers, with 95 % bootstrap intervals.

    Pairs are drawn with replacement, the same draws for both; draws in which a correlation is not
    defined (all of one value) are left out of its interval.

    Args:
        x: Scores, shape (pairs,), finite.
        y: Accuracies, shape (pairs,), finite.
        num_bootstrap: Draws (≥ 0); with 0 there is no interval.
        seed: Of the draws (≥ 0).

    Returns:
        ρ and τ_b.
    """
    num_draws = num_bootstrap if len(x) > 1 else 0
    draws = _bootstrap(x, y, ("spearman", "kendall"), num_draws, np.random.default_rng(seed))

    def found(kind: Kind) -> Correlation:
        value = coefficient(x, y, kind)
        defined = draws[kind] if np.isfinite(value) else np.empty(0)
        low, high = percentile_interval(defined)
        return Correlation(value=value, low=low, high=high, num_pairs=len(x))

    return found("spearman"), found("kendall")


def correlate_seeds(seeds: Sequence[Pairs], kind: Kind) -> Correlation:
    """Correlate x with y within every seed, and average over the seeds.

    Seeds are not pooled: each may have one θ0 for all of its samples, which sets the scale of e.
    The interval is of the mean over these very seeds: pairs are drawn again within every seed.
    It covers the draw of architectures and batches, not of a θ0 that a seed has for all of them,
    which the spread of ``per_seed`` shows.

    Args:
        seeds: x and y of every seed.
        kind: The coefficient.

    Returns:
        NaN for a seed with fewer than 3 pairs or a constant x or y.

    Raises:
        ValueError: If x and y of a seed are not equally long.
    """
    per_seed, resampled = [], []
    for position, (x, y) in enumerate(seeds):
        if len(x) != len(y):
            raise ValueError(f"{len(x)} numbers cannot be paired with {len(y)}")
        is_enough = len(x) >= _MIN_PAIRS_OF_A_SEED
        value = coefficient(x, y, kind) if is_enough else float("nan")
        per_seed.append(value)
        if np.isfinite(value):
            # The same numbers always get the same interval.
            rng = np.random.default_rng([len(x), position])
            resampled.append(_bootstrap(x, y, (kind,), NUM_RESAMPLES, rng)[kind])
    low, high = percentile_interval(np.mean(resampled, axis=0) if resampled else np.empty(0))
    defined = [value for value in per_seed if np.isfinite(value)]
    return Correlation(
        value=float(np.mean(defined)) if defined else float("nan"),
        low=low,
        high=high,
        per_seed=tuple(per_seed),
        num_pairs=sum(len(x) for x, _ in seeds),
    )


def percentile_interval(draws: FloatArray) -> tuple[float, float]:
    """The 95 % interval of bootstrap draws, shape (draws,).

    Draws without a coefficient (all pairs were one) are left out; NaN if no draw has one.
    """
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return float("nan"), float("nan")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def tenths(values: FloatArray, *, num_groups: int = 10) -> list[IntArray]:
    """Which values are in the lowest tenth, the next one, and so on.

    Groups differ by at most one in size; ties keep the order given.

    Args:
        values: shape (n,), finite
        num_groups: At most so many groups (≥ 1); fewer where there are fewer values.

    Returns:
        Positions in ``values``, group by group.
    """
    order = np.argsort(values, kind="stable")
    return np.array_split(order, min(num_groups, len(order))) if len(order) else []


def deciles(score: FloatArray, error: FloatArray) -> list[Decile]:
    """Mean error by tenth of the score, lowest score first.

    Args:
        score: shape (n,), finite
        error: shape (n,), finite
    """
    return [
        Decile(
            num=len(rows),
            score=float(score[rows].mean()),
            error=float(error[rows].mean()),
            std=float(error[rows].std()),
        )
        for rows in tenths(score)
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


def seed_agreement(scores: FloatArray) -> float:
    """Mean Spearman correlation of the rankings of each two seeds; NaN with fewer than two.

    Args:
        scores: shape (seeds, architectures), NaN where missing
    """
    found = []
    for i in range(len(scores)):
        for j in range(i):
            there = np.isfinite(scores[i]) & np.isfinite(scores[j])
            found.append(coefficient(scores[i, there], scores[j, there], "spearman"))
    defined = [value for value in found if np.isfinite(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _bootstrap(
    x: FloatArray,
    y: FloatArray,
    kinds: Sequence[Kind],
    num_draws: int,
    rng: np.random.Generator,
) -> dict[Kind, FloatArray]:
    """Coefficients of pairs drawn with replacement, shape (num_draws,) each; same draws for all."""
    found: dict[Kind, list[FloatArray]] = {kind: [np.empty(0)] for kind in kinds}
    for rows in _resamples(len(x), num_draws, rng):
        for kind, draws in found.items():
            draws.append(coefficients(x[rows], y[rows], kind))
    return {kind: np.concatenate(draws) for kind, draws in found.items()}


def _resamples(num: int, num_draws: int, rng: np.random.Generator) -> Iterator[IntArray]:
    """Draws with replacement, in blocks of shape (draws, num)."""
    block = max(1, _MAX_BLOCK // max(num, 1))
    for start in range(0, num_draws, block):
        yield rng.integers(num, size=(min(block, num_draws - start), num))


def _pearson(x: FloatArray, y: FloatArray) -> FloatArray:
    is_constant = (np.ptp(x, axis=1) == 0) | (np.ptp(y, axis=1) == 0)
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    product = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    found = np.full(len(x), np.nan)
    defined = ~is_constant & (product > 0)
    np.divide((x * y).sum(axis=1), product, out=found, where=defined)
    clipped: FloatArray = np.clip(found, -1.0, 1.0)
    return clipped


def _tau_b(x: FloatArray, y: FloatArray) -> float:
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The p-value is not used: its exact form would take long, the other divides by n - 2.
        method = "asymptotic" if len(x) > 2 else "exact"
        return float(stats.kendalltau(x, y, method=method).statistic)
