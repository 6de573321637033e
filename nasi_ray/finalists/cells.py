"""The best distinct cells of a search's score, or of the mean score of several searches."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.config import EstimateConfig
from nasi_ray.errors import ConfigError
from nasi_ray.nasi.budget import Budget
from nasi_ray.nasi.consensus import mean_gradient, scores_of
from nasi_ray.nasi.estimator import Estimate, GradientEstimate
from nasi_ray.nasi.scores import known_score, select_score, within_budget
from nasi_ray.nasi.surrogate import additive, sum_of
from nasi_ray.spaces.base import Architecture, SearchSpace, TabularSpace, first_positions
from nasi_ray.spaces.options import architecture_at, can_be_enumerated, grid_shape, incidence

_MOST_TRIED = 20_000
"""Cells of a space that cannot be enumerated that are looked at, at most."""
_MOST_COUNTED = 100_000
"""Configurations up to which a space's distinct cells are counted beforehand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finalist:
    """A cell that is to be compared."""

    rank: int
    """1 for the best score, which is the search's own answer."""
    score: float
    """Score minus that of the best, at most 0; in the units of ``SearchResult.margins``."""
    architecture: Architecture

    @property
    def key(self) -> str:
        """Equal for equal cells."""
        return cell_key(self.architecture)


def cell_key(architecture: Architecture) -> str:
    """Its key in a table; of an architecture without one, its notation."""
    return str(getattr(architecture, "key", architecture.to_string()))


def refuse_too_many(count: int, space: SearchSpace) -> None:
    """Refuse more finalists than a space has cells.

    Raises:
        ConfigError: If it is so; a large space is taken at its number of configurations.
    """
    most = prod(grid_shape(space))
    if isinstance(space, TabularSpace) and most <= _MOST_COUNTED:
        most = len(np.unique(first_positions(space.keys())))
    if count > most:
        raise ConfigError(f"finalists is {count}, and {space.name} has {most} cells; give fewer")


def best_cells(
    results: Sequence[Estimate], space: SearchSpace, config: EstimateConfig, count: int
) -> list[Finalist]:
    """The best distinct cells, best first.

    Where all can be scored, the best are taken. Else a cell's score is the mean α of the candidates
    it keeps, and the cells are what ``space.select`` makes of them.

    Args:
        results: Estimates of one search, or of several whose scores are averaged (at least one).
        space: Their space.
        config: Their settings.
        count: How many (≥ 1).

    Raises:
        ConfigError: If fewer cells fit the limits of size.
    """
    budget = Budget(space, config)
    if can_be_enumerated(space) and not any(d.num_kept for d in space.decisions):
        ranked = _enumerated(_grid(results, space, config), space, budget)
    else:
        ranked = _around(_alpha(results, space, config, budget), space, config)
    found: dict[str, Finalist] = {}
    for architecture, score in ranked:
        rank, key = len(found) + 1, cell_key(architecture)
        found.setdefault(key, Finalist(rank=rank, score=score, architecture=architecture))
        if len(found) == count:
            return list(found.values())
    raise ConfigError(
        f"finalists is {count}, and only {len(found)} distinct cells of {space.name} fit the "
        "limits of size; give fewer, or a larger limit"
    )


def _grid(results: Sequence[Estimate], space: SearchSpace, config: EstimateConfig) -> FloatArray:
    """The mean score of every configuration, shape (options, ..., options)."""
    gradients = [result for result in results if isinstance(result, GradientEstimate)]
    if gradients:
        logits = space.split(mean_gradient(gradients).alpha).values()
        taken = zip(space.decisions, logits, strict=True)
        return additive([incidence(d) @ alpha for d, alpha in taken]).grid()
    scores, known = scores_of(results, config), known_score(space, config)
    grid = sum_of([score * (1 / len(scores)) for score in scores]).grid()
    return grid if known is None else grid + known


def _enumerated(
    grid: FloatArray, space: SearchSpace, budget: Budget
) -> Iterator[tuple[Architecture, float]]:
    if budget.allowed is not None:
        grid = np.where(budget.allowed, grid, -np.inf)
    flat = grid.ravel()
    # Of equal scores the first, as in the search itself.
    order = np.argsort(-flat, kind="stable")
    for index in order[: int(np.isfinite(flat).sum())]:
        position = np.array(np.unravel_index(int(index), grid.shape))
        yield architecture_at(space, position), float(flat[index] - flat[order[0]])


def _alpha(
    results: Sequence[Estimate], space: SearchSpace, config: EstimateConfig, budget: Budget
) -> FloatArray:
    """α of the mean score, shape (num_logits,)."""
    if len(results) == 1:
        return results[0].alpha
    gradients = [result for result in results if isinstance(result, GradientEstimate)]
    if gradients:
        return within_budget(mean_gradient(gradients), space, budget, with_draws=False).alpha
    scores = scores_of(results, config)
    mean = sum_of([score * (1 / len(scores)) for score in scores])
    return select_score(mean, known_score(space, config), space, budget).alpha


def _around(
    alpha: FloatArray, space: SearchSpace, config: EstimateConfig
) -> Iterator[tuple[Architecture, float]]:
    """Cells by the α of what they keep, those of ``space.select`` first."""
    limits = {"params": config.max_params, "multiply_adds": config.max_madds}
    rows = space.split(alpha)
    kept = [_kept_sets(rows[decision.name], decision.kept) for decision in space.decisions]
    lift = float(np.ptp(alpha[np.isfinite(alpha)])) + 1.0
    for chosen, loss in itertools.islice(_best_first([losses for _, losses in kept]), _MOST_TRIED):
        # What is kept comes before the rest, in its own order.
        lifted = alpha.copy()
        for (sets, _), option, where in zip(kept, chosen, space.slices, strict=True):
            lifted[where][sets[option]] += lift
        architecture = space.select(space.split(lifted), pairing=config.pairing)
        costs = space.costs_of(architecture) if any(limits.values()) else {}
        if all(cost <= (limits[kind] or np.inf) for kind, cost in costs.items()):
            yield architecture, 0.0 - loss


def _kept_sets(logits: FloatArray, num_kept: int) -> tuple[IntArray, FloatArray]:
    """Sets of candidates, and how much less their mean α is than that of the best; least first."""
    candidates = np.flatnonzero(np.isfinite(logits))
    sets = np.array(list(itertools.combinations(candidates, min(num_kept, len(candidates)))))
    means = logits[sets].mean(axis=1)
    order = np.argsort(-means, kind="stable")
    return sets[order], means[order[0]] - means[order]


def _best_first(losses: Sequence[FloatArray]) -> Iterator[tuple[tuple[int, ...], float]]:
    """One option of every decision, by the sum of their losses, least first.

    Args:
        losses: Of every decision's options, ascending.
    """
    start = (0,) * len(losses)
    heap, seen = [(0.0, start)], {start}
    while heap:
        loss, chosen = heapq.heappop(heap)
        yield chosen, loss
        for d, options in enumerate(losses):
            following = (*chosen[:d], chosen[d] + 1, *chosen[d + 1 :])
            if following[d] < len(options) and following not in seen:
                seen.add(following)
                total = float(sum(table[i] for table, i in zip(losses, following, strict=True)))
                heapq.heappush(heap, (total, following))
