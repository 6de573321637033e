"""One cell from several searches (seeds) of a space: the one with the best mean score.

A score is a function of the configuration, so scores can be averaged, where cells and votes
cannot: no run need have selected the consensus. Of a gradient the score of a cell is the sum of
the logits it takes, so the mean score is that of the mean α*.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.config import EstimateConfig
from nasi_ray.nasi.budget import Budget
from nasi_ray.nasi.estimates import NUM_DRAWS, architecture_of
from nasi_ray.nasi.estimator import Estimate, GradientEstimate, first_choices
from nasi_ray.nasi.scores import alpha_of_scores, known_score, select_score, within_budget
from nasi_ray.nasi.surrogate import Surrogate, standardized_sum, sum_of
from nasi_ray.spaces.base import Architecture, SearchSpace


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Consensus:
    """What several runs select together."""

    estimate: Estimate
    """Of the mean score. Its draws are of the runs, drawn with replacement, so ``margins`` says how
    likely as many other seeds choose the same; there are none of a single run."""
    architecture: Architecture
    """The cell."""
    votes: dict[str, int]
    """Decision -> runs whose own first choice is the consensus's, at most ``num_runs``."""
    agreement: dict[str, float]
    """Decision -> share of pairs of runs with the same first choice, in [0, 1]; NaN of one run."""
    num_runs: int

    def __repr__(self) -> str:
        return f"Consensus({self.architecture.to_string()!r} of {self.num_runs} runs)"


def consensus_of(
    results: Sequence[Estimate], space: SearchSpace, config: EstimateConfig
) -> Consensus:
    """The cell that maximises the mean score of several runs.

    Scores are in standard deviations over the space, so that every run counts alike; α* (eq. 18)
    is averaged as it is.

    Args:
        results: Estimates of the runs, all with the settings ``config`` (at least one).
        space: Their space.
        config: Settings of the estimates.

    Raises:
        ConfigError: If no cell fits the budget.
        ValueError: If there is no result, or a result has neither terms nor a score.
    """
    if not results:
        raise ValueError("there is no result")
    budget = Budget(space, config)
    gradients = [result for result in results if isinstance(result, GradientEstimate)]
    mean: Estimate
    if len(gradients) == len(results):
        mean = within_budget(mean_gradient(gradients), space, budget)
    else:
        mean = _mean_score(results, space, config, budget)
    choices = first_choices(mean.alpha, space)
    own = [first_choices(result.alpha, space) for result in results]
    return Consensus(
        estimate=mean,
        architecture=architecture_of(mean, space, config),
        votes={name: sum(run[name] == taken for run in own) for name, taken in choices.items()},
        agreement={name: _agreement([run[name] for run in own]) for name in choices},
        num_runs=len(results),
    )


def mean_gradient(results: Sequence[GradientEstimate]) -> GradientEstimate:
    """The mean of the runs' α*; its terms are theirs, so its standard errors are of their spread.

    Args:
        results: One a run (at least one).
    """
    alphas = np.array([result.alpha_star for result in results])
    return GradientEstimate(alpha=alphas.mean(axis=0), terms=alphas, nu=np.empty(0))


def scores_of(results: Sequence[Estimate], config: EstimateConfig) -> list[Surrogate]:
    """The fitted scores of runs, in units that make them count alike.

    Raises:
        ValueError: If a result has no score.
    """
    scores = [result.score for result in results if result.score is not None]
    if len(scores) < len(results):
        raise ValueError("a result has no score; make it with make_estimate")
    if config.needs_gradient:  # the others are sums of terms that are standardized already
        scores = [standardized_sum([score]) for score in scores]
    return scores


def _mean_score(
    results: Sequence[Estimate], space: SearchSpace, config: EstimateConfig, budget: Budget
) -> Estimate:
    scores, known = scores_of(results, config), known_score(space, config)
    share = np.full(len(scores), 1 / len(scores))
    found = select_score(_weighted(scores, share), known, space, budget)
    draws = None
    if len(scores) > 1:
        rng = np.random.default_rng(0)
        weights = rng.multinomial(len(scores), share, size=NUM_DRAWS) / len(scores)
        alpha_of = alpha_of_scores(space, known, budget)
        draws = np.array([alpha_of(_weighted(scores, row)) for row in weights])
    return dataclasses.replace(found, draws=draws)


def _weighted(scores: Sequence[Surrogate], weights: FloatArray) -> Surrogate:
    return sum_of([s * float(w) for s, w in zip(scores, weights, strict=True) if w > 0])


def _agreement(taken: Sequence[tuple[int, ...]]) -> float:
    pairs = [one == other for i, one in enumerate(taken) for other in taken[:i]]
    return sum(pairs) / len(pairs) if pairs else float("nan")
