"""α of samples drawn with replacement, many draws at once.

A draw repeats the whole estimate: percentiles of e, ν_t of ADA, the running maximum of eq. 18, and
ranks are those of the samples drawn. Draws start from the same numbers at every call.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.config import EstimateConfig, quantile_of
from nasi_ray.nasi.estimator import (
    NUM_ARCHITECTURES_FOR_NU,
    SWEPT_PERCENTILES,
    GradientEstimate,
    squared_norms,
)
from nasi_ray.records.rows import SampleTable

MAX_RESAMPLED = 50_000
"""Beyond so many samples a gradient's estimate is not repeated; means of its terms are drawn."""
_BLOCK = 2_000_000


def drawn_rows(num_samples: int, num_draws: int) -> Iterator[IntArray]:
    """Samples drawn with replacement, as many as there are.

    Yields:
        Blocks of draws, shape (draws, samples) each, together ``num_draws``.
    """
    rng = np.random.default_rng(0)
    block = max(1, _BLOCK // num_samples)
    for start in range(0, num_draws, block):
        yield rng.integers(num_samples, size=(min(block, num_draws - start), num_samples))


def drawn_counts(num_samples: int, num_draws: int) -> Iterator[IntArray]:
    """How often each sample is in each draw of ``drawn_rows``; the same shapes."""
    for rows in drawn_rows(num_samples, num_draws):
        yield _per_sample(rows).astype(np.int64)


def gradient_draws(
    result: GradientEstimate, table: SampleTable, config: EstimateConfig, num_draws: int
) -> FloatArray | None:
    """α* (eq. 18) of samples drawn with replacement, in the order in which they were drawn.

    With ``nu`` = auto the first 50 samples of a draw give ν; where T is below 50 it stays what it
    is.

    Args:
        result: The estimate of all samples.
        table: The samples it was made of.
        config: Its settings.
        num_draws: Draws (≥ 0).

    Returns:
        shape (draws, num_logits); None with fewer than 2 good samples, more than
        ``MAX_RESAMPLED``, or no draw
    """
    used = table.below(config.num_samples)
    e, grad = used.trace_norm[used.ok], used.grad[used.ok]
    if not num_draws or not 2 <= len(e) <= MAX_RESAMPLED:
        return None
    squared = squared_norms(grad)
    draws = []
    for rows in drawn_rows(len(e), num_draws):
        drawn, scale = e[rows], np.zeros(rows.shape)
        limits = _limits(drawn, config, float(result.nu[0]))
        for nu in limits:
            factors = np.where(drawn > _adapted(nu, drawn, config), 1.0 - config.mu, 1.0)
            divisor = np.sqrt(factors**2 * squared[rows] + config.norm_epsilon)
            if config.normalize == "max":
                np.maximum.accumulate(divisor, axis=1, out=divisor)
            scale += np.divide(factors, divisor, out=np.zeros_like(scale), where=divisor > 0)
        scale *= config.xi / (len(limits) * len(e))
        draws.append(_per_sample(rows, scale) @ grad)
    return np.concatenate(draws)


def _per_sample(rows: IntArray, weights: FloatArray | None = None) -> FloatArray | IntArray:
    """Sum of the weights with which each sample was drawn, shape (draws, samples)."""
    num_draws, num_samples = rows.shape
    places = rows + num_samples * np.arange(num_draws)[:, None]
    flat = None if weights is None else weights.ravel()
    return np.bincount(places.ravel(), flat, minlength=rows.size).reshape(rows.shape)


def _limits(drawn: FloatArray, config: EstimateConfig, found: float) -> list[FloatArray]:
    """ν (or ν₀) of every draw, shape (draws, 1); several for a sweep."""
    nu = config.nu
    if nu == "sweep":
        return list(np.percentile(drawn, SWEPT_PERCENTILES, axis=1)[:, :, None])
    if nu == "auto" and drawn.shape[1] >= NUM_ARCHITECTURES_FOR_NU:
        return [drawn[:, :NUM_ARCHITECTURES_FOR_NU].mean(axis=1, keepdims=True)]
    if isinstance(nu, str) and nu != "auto":
        return [np.percentile(drawn, quantile_of(nu) or 0.0, axis=1)[:, None]]
    # ν₀ is ν of the first sample, with ADA too (eq. 41).
    return [np.full((len(drawn), 1), found)]


def _adapted(nu: FloatArray, drawn: FloatArray, config: EstimateConfig) -> FloatArray:
    """ν_t of every draw (eq. 41 for ADA), broadcast to shape (draws, samples)."""
    if config.method == "fix":
        return nu
    seen = np.cumsum(drawn, axis=1) - drawn
    adapted: FloatArray = (nu + seen) / np.arange(1, drawn.shape[1] + 1)
    return adapted
