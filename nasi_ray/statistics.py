"""Correlation coefficients of many pairs of rows at once, and percentile bootstrap intervals."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from nasi_ray.arrays import FloatArray

Kind = Literal["pearson", "spearman", "kendall"]

CONFIDENCE = 0.95

SIGNIFICANT_AT = 2.0
"""A margin of at least this many standard errors is significant; under it, its two sides tie."""


def pearson(x: FloatArray, y: FloatArray) -> FloatArray:
    """Coefficient of every row; NaN where a row is constant.

    Args:
        x: shape (rows, pairs), finite
        y: shape (rows, pairs), finite

    Returns:
        shape (rows,), in [-1, 1] or NaN
    """
    x_constant, y_constant = _is_constant(x), _is_constant(y)
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    product = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    found = np.full(len(x), np.nan)
    defined = ~(x_constant | y_constant) & (product > 0)
    np.divide((x * y).sum(axis=1), product, out=found, where=defined)
    clipped: FloatArray = np.clip(found, -1.0, 1.0)
    return clipped


def spearman(x: FloatArray, y: FloatArray) -> FloatArray:
    """Spearman's ρ of every row, with mean ranks for ties; as ``pearson``."""
    return pearson(stats.rankdata(x, axis=1), stats.rankdata(y, axis=1))


def kendall(x: FloatArray, y: FloatArray) -> FloatArray:
    """Kendall's τ_b of every row; as ``pearson``."""
    return np.array([_tau_b(row_x, row_y) for row_x, row_y in zip(x, y, strict=True)])


COEFFICIENTS: dict[Kind, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "pearson": pearson,
    "spearman": spearman,
    "kendall": kendall,
}


def percentile_interval(draws: FloatArray) -> tuple[float, float] | None:
    """The 95 % interval of bootstrap draws, shape (draws,).

    Draws without a coefficient (all pairs were one) are left out; None if no draw has one.
    """
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def _is_constant(rows: FloatArray) -> npt.NDArray[np.bool_]:
    constant: npt.NDArray[np.bool_] = np.ptp(rows, axis=1) == 0
    return constant


def _tau_b(x: FloatArray, y: FloatArray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The p-value is not used; its exact form would take long.
        return float(stats.kendalltau(x, y, method="asymptotic").statistic)
