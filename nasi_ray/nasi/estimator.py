"""The estimate of α (eq. 13-18, 40, 41): a pure function of the samples, in index order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nasi_ray.arrays import FloatArray, IntArray, average_ranks
from nasi_ray.config import EstimateConfig, quantile_of
from nasi_ray.errors import NoGoodSamplesError
from nasi_ray.nasi.surrogate import Surrogate
from nasi_ray.records.rows import SampleTable
from nasi_ray.spaces.base import Cost, SearchSpace

_BLOCK = 16_384
_NUM_DRAWS = 200
_MAX_DRAWN = 10_000
NUM_ARCHITECTURES_FOR_NU = 50
"""N of eq. 40. As α0 = 0, samples are random architectures, so the first N samples are used."""
SWEPT_PERCENTILES = tuple(2.5 + 5.0 * k for k in range(20))
"""Percentiles of e that ν = sweep uses as limits."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FrontPoint:
    """The best cell under a limit of the parameters."""

    max_params: float
    """The limit."""
    position: IntArray
    """Option of every decision (``spaces.options``), shape (decisions,)."""
    num_params: float
    """Of the final network."""
    multiply_adds: float
    """Of the final network, for one image."""
    score: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Estimate:
    """α* and what gives its standard errors."""

    alpha: FloatArray
    """α*, shape (num_logits,). Of a gradient: eq. 18. Of a score, or within limits of size: the
    score of the best architecture with a candidate minus that of the best of all, at most 0; -inf
    where no cell is allowed."""
    draws: FloatArray | None = None
    """α of samples drawn with replacement, shape (draws, num_logits); None: none was drawn, or the
    terms of a gradient are to be drawn."""
    position: IntArray | None = None
    """What is selected: the option of every decision; None: the best of every decision."""
    costs: Mapping[Cost, float] = field(default_factory=dict)
    """What the final network costs; empty if the space does not know it."""
    front: tuple[FrontPoint, ...] = ()
    """The best cells under limits of the parameters, smallest first."""
    score: Surrogate | None = None
    """The fitted score of a cell; None for a gradient, where it is the sum of the cell's logits."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GradientEstimate(Estimate):
    """α* of eq. 18, and its terms."""

    terms: FloatArray
    """ξ G_t / max‖G‖, shape (samples, num_logits); α* is their mean."""
    nu: FloatArray
    """ν_t, shape (samples,); constant for FIX; for a sweep, the median."""
    is_limited: bool = False
    """Whether the size is limited. A cell's score is then the sum of the logits of eq. 18 that it
    takes, and ``alpha`` and ``draws`` are those of a score, within the limits."""

    @property
    def alpha_star(self) -> FloatArray:
        """α* (eq. 18), also where the size is limited; shape (num_logits,)."""
        mean: FloatArray = self.terms.sum(axis=0) / len(self.terms)
        return mean


@dataclass(frozen=True, kw_only=True, slots=True)
class Margin:
    """How clear a decision is: the last candidate taken against the first one not taken."""

    value: float
    """Difference of their logits (≥ 0)."""
    standard_error: float
    """Monte-Carlo standard error of that difference; NaN with fewer than 2 samples."""
    probability: float = float("nan")
    """Chance that other samples, as many, take the same candidates, in [0, 1] (``outcomes``); NaN
    with fewer than 2 samples."""


def num_samples_needed(config: EstimateConfig) -> int:
    """Number of samples an estimate reads: T, but at least 50 for ν = auto (eq. 40)."""
    if config.nu == "auto":
        return max(config.num_samples, NUM_ARCHITECTURES_FOR_NU)
    return config.num_samples


def estimate(table: SampleTable, config: EstimateConfig) -> GradientEstimate:
    """Replay samples in index order to α*.

    G_t = (1 − μ·[e_t > ν_t]) ∇_α e_t,  α* = (ξ/T) Σ_t G_t / max(‖G_1‖₂, …, ‖G_t‖₂)  (eq. 13-18),
    with ν_t = ν (FIX) or (ν₀ + Σ_{s<t} e_s)/t (ADA, eq. 41). Where every G so far is zero, the
    term is zero. Failed samples are left out: T and t count the good ones. With ``normalize`` =
    each the divisor is ‖G_t‖ (not in the paper): the norms spread over orders of magnitude, and
    the running maximum leaves little weight to the samples after a large one. With ``nu`` = sweep
    every term, and so α*, is the mean over ν at ``SWEPT_PERCENTILES`` (not in the paper). With
    μ = 2 and ``normalize`` = each a term is then (1 − 2r) ∇_α e/‖∇_α e‖, where r is the share of
    the limits below e: an ascent of −(rank of e − its median)².

    Args:
        table: Samples; those with index ≥ ``config.num_samples`` are used for ν = auto only.
        config: T, method, ν, μ, ξ.

    Raises:
        NoGoodSamplesError: If no sample is good.
    """
    used = table.below(config.num_samples)
    e = used.trace_norm[used.ok]
    if not len(e):
        why = next(iter(used.errors.values()), "no sample was evaluated")
        raise NoGoodSamplesError(
            f"none of the {len(used)} samples is usable: {why}; change the settings that cause it"
        )
    if config.nu == "sweep":
        nu = _adapted(np.full(len(e), np.median(e)), e, config)
        terms = _swept_terms(used.grad[used.ok], e, config)
    else:
        nu = _constraint(e, config, table)
        terms = _terms(used.grad[used.ok], e, nu, config)
    return GradientEstimate(alpha=terms.sum(axis=0) / len(e), terms=terms, nu=nu)


def trace_norm_reward(table: SampleTable, config: EstimateConfig) -> FloatArray:
    """The objective whose gradient eq. 13 takes, of each good sample: e − μ max(0, e − ν).

    With ν at every fifth percentile it is −(r − ½)², r the rank of e in [0, 1].

    Args:
        table: Samples; those with index ≥ ``config.num_samples`` are used for ν = auto only.
        config: T, method, ν, μ.

    Returns:
        shape (good samples,)
    """
    used = table.below(config.num_samples)
    e = used.trace_norm[used.ok]
    if config.nu == "sweep":
        centred = average_ranks(e) / (len(e) + 1) - 0.5
        return -(centred**2)
    nu = _constraint(e, config, table)
    reward: FloatArray = e - config.mu * np.maximum(0.0, e - nu)
    return reward


def _terms(grad: FloatArray, e: FloatArray, nu: FloatArray, config: EstimateConfig) -> FloatArray:
    """ξ G_t / max‖G‖, written into ``grad``, which is a copy of the records."""
    terms = grad
    terms *= _factors(e, nu, config)[:, None]
    divisor = _divisors(squared_norms(terms), config)
    is_positive = divisor > 0
    np.divide(terms, divisor[:, None], out=terms, where=is_positive[:, None])
    terms[~is_positive] = 0.0
    terms *= config.xi
    return terms


def _swept_terms(grad: FloatArray, e: FloatArray, config: EstimateConfig) -> FloatArray:
    """The mean of ``_terms`` over ν at ``SWEPT_PERCENTILES``, written into ``grad``.

    Each term is a factor times ∇_α e, so only the factors are averaged.
    """
    squared = squared_norms(grad)
    scale = np.zeros(len(e))
    for percentile in SWEPT_PERCENTILES:
        nu = np.full(len(e), np.percentile(e, percentile))
        factors = _factors(e, _adapted(nu, e, config), config)
        divisor = _divisors(factors**2 * squared, config)
        share = np.divide(factors, divisor, out=np.zeros_like(factors), where=divisor > 0)
        np.add(scale, share, out=scale)
    grad *= (config.xi / len(SWEPT_PERCENTILES)) * scale[:, None]
    return grad


def _factors(e: FloatArray, nu: FloatArray, config: EstimateConfig) -> FloatArray:
    """1 − μ·[e_t > ν_t], shape (samples,)."""
    factors: FloatArray = np.where(e > nu, 1.0 - config.mu, 1.0)
    return factors


def _divisors(squared_norms: FloatArray, config: EstimateConfig) -> FloatArray:
    """The divisor of each G_t, from ‖G_t‖², shape (samples,)."""
    norms: FloatArray = np.sqrt(squared_norms + config.norm_epsilon)
    if config.normalize == "each":
        return norms
    largest: FloatArray = np.maximum.accumulate(norms)
    return largest


def first_choices(alpha: FloatArray, space: SearchSpace) -> dict[str, tuple[int, ...]]:
    """Decision -> the candidates that it takes, ascending; of equal ones the first.

    Decisions without alternatives are left out, as in ``margins``.

    Args:
        alpha: shape (num_logits,)
        space: Its space.
    """
    return {
        decision.name: tuple(
            sorted(np.argsort(-alpha[where], kind="stable")[: decision.num_chosen].tolist())
        )
        for decision, where in zip(space.decisions, space.slices, strict=True)
        if decision.size > decision.num_chosen
    }


def margins(
    result: Estimate, space: SearchSpace, *, with_probability: bool = True
) -> dict[str, Margin]:
    """Margin of every decision between its first and second choice.

    With ``num_chosen`` = k the k-th and (k+1)-th are compared; decisions without alternatives are
    left out. Ties go to the candidate that comes first, as in ``SearchSpace.select``.

    Args:
        result: The estimate.
        space: Its space.
        with_probability: Whether the margins' ``probability`` is wanted, for which a gradient's
            terms are drawn.
    """
    num_taken = [decision.num_chosen for decision in space.decisions]
    return _margins(result, space, num_taken, outcomes(result) if with_probability else None)


def kept_margins(result: Estimate, space: SearchSpace) -> dict[str, Margin]:
    """Margin of every decision between the last candidate that is kept and the first that is not.

    A DARTS node keeps its two best operations and inputs: second against third. Decisions that
    keep all candidates are left out.

    Args:
        result: The estimate.
        space: Its space.
    """
    num_taken = [decision.kept for decision in space.decisions]
    return _margins(result, space, num_taken, outcomes(result))


def _margins(
    result: Estimate, space: SearchSpace, num_taken: Sequence[int], draws: FloatArray | None
) -> dict[str, Margin]:
    found = {}
    for decision, where, num in zip(space.decisions, space.slices, num_taken, strict=True):
        if decision.size <= num:
            continue
        alpha = result.alpha[where]
        order = np.argsort(-alpha, kind="stable")
        last, first_left = order[num - 1 : num + 1]
        found[decision.name] = Margin(
            value=float(alpha[last] - alpha[first_left]),
            standard_error=_error_between(result, where, int(last), int(first_left)),
            probability=_agreement(draws, where, order[:num]),
        )
    return found


def _error_between(result: Estimate, where: slice, one: int, other: int) -> float:
    if isinstance(result, GradientEstimate) and not result.is_limited:
        terms = result.terms[:, where]
        return standard_error(terms[:, one] - terms[:, other])
    if result.draws is None or len(result.draws) < 2:
        return float("nan")
    draws = result.draws[:, where]
    with np.errstate(invalid="ignore"):  # a candidate that no allowed cell has: -inf
        return float((draws[:, one] - draws[:, other]).std(ddof=1))


def drawn_means(terms: FloatArray) -> FloatArray | None:
    """α* (eq. 18) of terms drawn with replacement, or of many its normal limit.

    Args:
        terms: shape (samples, num_logits)

    Returns:
        shape (draws, num_logits); None with fewer than 2 terms
    """
    num = len(terms)
    if num < 2:
        return None
    rng = np.random.default_rng(0)
    if num > _MAX_DRAWN:  # a draw takes as long as the estimate, and such means are about normal
        mean = terms.mean(axis=0)
        size = abs(terms - mean).max() or 1.0
        centred = (terms - mean) / size
        values, vectors = np.linalg.eigh(centred.T @ centred)
        # The symmetric root, which no sign or basis that LAPACK chooses changes.
        root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        noise = rng.standard_normal((_NUM_DRAWS, len(mean)))
        means: FloatArray = mean + (size / num) * (noise @ root)
        return means
    counts = rng.multinomial(num, np.full(num, 1 / num), size=_NUM_DRAWS)
    means = counts @ terms / num
    return means


def outcomes(result: Estimate) -> FloatArray | None:
    """What α of other samples, as many, may be: α + √2 (α of a bootstrap draw − α).

    Draws spread about α as α does about its limit. Other samples have an error of their own beside
    that of these, so their α spreads twice as much, as a variance. Without the √2 the shares are
    too high (``docs/study/confidence.md``).

    Returns:
        shape (draws, num_logits); None where there are no draws
    """
    draws = result.draws
    if draws is None and isinstance(result, GradientEstimate) and not result.is_limited:
        draws = drawn_means(result.terms)
    if draws is None:
        return None
    is_known = np.isfinite(draws) & np.isfinite(result.alpha)  # no allowed cell has a candidate
    with np.errstate(invalid="ignore"):
        spread = result.alpha + np.sqrt(2.0) * (draws - result.alpha)
    return np.where(is_known, spread, draws)


def _agreement(draws: FloatArray | None, where: slice, taken: IntArray) -> float:
    """Share of draws whose best candidates are those taken, in any order."""
    if draws is None or not len(draws):
        return float("nan")
    best = np.argsort(-draws[:, where], axis=1, kind="stable")[:, : len(taken)]
    return float((np.sort(best, axis=1) == np.sort(taken)).all(axis=1).mean())


def standard_error(values: FloatArray) -> float:
    """Standard error of the mean of ``values``, shape (samples,); NaN with fewer than 2."""
    if len(values) < 2:
        return float("nan")
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def squared_norms(vectors: FloatArray) -> FloatArray:
    """‖v‖² of each row, in blocks: the squares of a million rows would take a gigabyte."""
    squared = np.empty(len(vectors))
    for start in range(0, len(vectors), _BLOCK):
        block = slice(start, start + _BLOCK)
        squared[block] = (vectors[block] ** 2).sum(axis=1)
    return squared


def _constraint(e: FloatArray, config: EstimateConfig, table: SampleTable) -> FloatArray:
    nu = config.nu
    if nu == "auto":
        first = table.below(NUM_ARCHITECTURES_FOR_NU)
        if not first.ok.any():
            raise NoGoodSamplesError(
                "nu=auto needs good samples among the first 50; give --nu a number"
            )
        nu = float(first.trace_norm[first.ok].mean())
    elif isinstance(nu, str):
        nu = float(np.percentile(e, quantile_of(nu) or 0.0))
    return _adapted(np.full(len(e), nu), e, config)


def _adapted(nu: FloatArray, e: FloatArray, config: EstimateConfig) -> FloatArray:
    """ν_t from ν (FIX) or ν₀ (ADA), shape (samples,)."""
    if config.method == "fix":
        return nu
    steps = np.arange(1, len(e) + 1)
    seen = np.concatenate([[0.0], np.cumsum(e)[:-1]])
    adapted: FloatArray = (nu + seen) / steps
    return adapted
