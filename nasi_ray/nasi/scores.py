"""From a score of cells to α and the cell, within the limits of size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.config import EstimateConfig
from nasi_ray.errors import ConfigError
from nasi_ray.nasi.budget import Budget
from nasi_ray.nasi.estimator import Estimate, FrontPoint, GradientEstimate, drawn_means
from nasi_ray.nasi.objectives import get_objective
from nasi_ray.nasi.selection import EnumeratedAlpha, select_enumerated
from nasi_ray.nasi.surrogate import Surrogate, additive
from nasi_ray.spaces.base import SearchSpace
from nasi_ray.spaces.options import can_be_enumerated, costs_of, incidence, position_of


def known_score(space: SearchSpace, config: EstimateConfig) -> FloatArray | None:
    """The part of an objective's score that is not fitted: parameters in standard deviations.

    Returns:
        Of every configuration, shape (options, ..., options); None if they are no term

    Raises:
        ConfigError: If they are, and the space does not know them.
    """
    if config.needs_gradient or not get_objective(config.objective).has_num_params:
        return None
    params = costs_of(space, "params")
    if params is None:
        raise ConfigError(
            f"objective {config.objective} needs the number of parameters of every cell, which "
            f"needs a method `costs` of space {space.name!r}; choose objective relative or "
            "expressive, or add the method (docs/extending.md)"
        )
    return params / (params.std() or 1.0)


def select_score(
    score: Surrogate, known: FloatArray | None, space: SearchSpace, budget: Budget
) -> Estimate:
    """The best cell of a score, and α: what each candidate costs.

    Args:
        score: What was fitted.
        known: What is added to it (``known_score``).
        space: The space.
        budget: Limits of size.

    Raises:
        ConfigError: If no cell fits the budget.
    """
    front: tuple[FrontPoint, ...] = ()
    if can_be_enumerated(space):
        grid = score.grid() if known is None else score.grid() + known
        found, front = select_enumerated(grid, space, allowed=budget.allowed), budget.front(grid)
    else:
        found = budget.select_by_ascent(score, num_starts=30)
    return Estimate(
        alpha=found.alpha,
        position=found.position,
        costs=budget.at(found.position),
        front=front,
        score=score,
    )


def alpha_of_scores(
    space: SearchSpace, known: FloatArray | None, budget: Budget
) -> Callable[[Surrogate], FloatArray]:
    """The α of ``select_score`` for one score after another, faster and less exact."""
    if can_be_enumerated(space):
        return EnumeratedAlpha(space, known=known, allowed=budget.allowed)
    return lambda score: budget.select_by_ascent(score, num_starts=5).alpha


def within_budget(
    result: GradientEstimate,
    space: SearchSpace,
    budget: Budget,
    *,
    draws: FloatArray | None = None,
    with_draws: bool = True,
) -> GradientEstimate:
    """A gradient's estimate, whose score of a cell is the sum of the logits it takes.

    Args:
        result: The estimate without limits.
        space: The space.
        budget: Limits of size.
        draws: α* of samples drawn with replacement; None: the terms are drawn where draws are
            needed.
        with_draws: Whether an estimate within limits has draws.

    Raises:
        ConfigError: If no cell fits the budget.
    """
    if budget.is_limited:
        found = select_score(_sum_of_logits(space, result.alpha), None, space, budget)
        if draws is None and with_draws:
            draws = drawn_means(result.terms)
        if draws is not None:
            alpha_of = alpha_of_scores(space, None, budget)
            draws = np.array([alpha_of(_sum_of_logits(space, drawn)) for drawn in draws])
        return dataclasses.replace(
            result,
            alpha=found.alpha,
            position=found.position,
            costs=found.costs,
            front=found.front,
            draws=draws,
            is_limited=True,
        )
    result = result if draws is None else dataclasses.replace(result, draws=draws)
    if not can_be_enumerated(space) or budget.costs is None:
        return result
    position = position_of(space, result.alpha)
    return dataclasses.replace(
        result,
        front=budget.front(_sum_of_logits(space, result.alpha).grid()),
        position=position,
        costs=budget.at(position),
    )


def _sum_of_logits(space: SearchSpace, alpha: FloatArray) -> Surrogate:
    logits = space.split(alpha).values()
    return additive([incidence(d) @ row for d, row in zip(space.decisions, logits, strict=True)])
