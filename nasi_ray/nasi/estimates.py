"""From a search's records to α and a cell, by any estimator and objective; pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.config import GRADIENT_ESTIMATORS, PATH, EstimateConfig
from nasi_ray.errors import ConfigError, NoGoodSamplesError
from nasi_ray.nasi.bootstrap import drawn_counts, gradient_draws
from nasi_ray.nasi.budget import Budget
from nasi_ray.nasi.estimator import (
    Estimate,
    GradientEstimate,
    estimate,
    trace_norm_reward,
)
from nasi_ray.nasi.objectives import drawn_rewards, get_objective, rewards
from nasi_ray.nasi.replay import replay
from nasi_ray.nasi.selection import EnumeratedAlpha, Selection, select_enumerated
from nasi_ray.nasi.surrogate import Design, Surrogate, additive, standardized_sum
from nasi_ray.records.rows import MeasurementTable, SampleTable, SearchRecords
from nasi_ray.spaces.base import Architecture, SearchSpace
from nasi_ray.spaces.options import (
    architecture_at,
    can_be_enumerated,
    chosen_candidates,
    costs_of,
    incidence,
    position_of,
)

NUM_DRAWS = 200
"""Bootstrap draws of the samples."""
RIDGE = {1: 3.0, 2: 30.0}
"""λ of main effects and of pairs."""


def make_estimate(
    records: SearchRecords,
    space: SearchSpace,
    config: EstimateConfig,
    settings: Mapping[str, Any],
    *,
    num_draws: int = NUM_DRAWS,
) -> Estimate:
    """α and what it selects.

    Args:
        records: Of the search; those with index ≥ ``config.num_samples`` are used for ν = auto
            only.
        space: Its space.
        config: Settings of the estimate.
        settings: What the samples were made with: ``seed``, ``temperature``.
        num_draws: Bootstrap draws; 0: a score's margins have no errors, and a gradient's terms
            are drawn in place of its samples.

    Raises:
        NoGoodSamplesError: If no sample is good.
        ConfigError: If the records lack what the estimate reads, or no cell fits the budget.
    """
    budget = Budget(space, config)
    budget.refuse_empty()
    if config.estimator in GRADIENT_ESTIMATORS:
        table = _replayed(_samples(records), space, config, settings)
        found = estimate(table, config)
        draws = gradient_draws(found, table, config, num_draws)
        return dataclasses.replace(_within(found, space, budget), draws=draws)
    scorer: _TraceNormScorer | _ObjectiveScorer
    if config.needs_gradient:
        scorer = _TraceNormScorer(_samples(records), space, config)
    else:
        scorer = _ObjectiveScorer(_path(records, config), space, config)
    return _estimate_by_score(scorer, space, budget, num_draws)


def architecture_of(result: Estimate, space: SearchSpace, config: EstimateConfig) -> Architecture:
    """What an estimate selects: the best of all configurations, or of each decision.

    A space that keeps more than it samples (DARTS: two operations and inputs a node) is decoded
    from α: the best and the second of each decision, combined by ``config.pairing``.
    """
    if result.position is None or any(d.num_kept for d in space.decisions):
        return space.select(space.split(result.alpha), pairing=config.pairing)
    return architecture_at(space, result.position)


def _replayed(
    table: SampleTable, space: SearchSpace, config: EstimateConfig, settings: Mapping[str, Any]
) -> SampleTable:
    if config.estimator == "straight-through":
        return table
    seed, temperature = int(settings["seed"]), float(settings["temperature"])
    return replay(table, space, config.estimator, seed=seed, temperature=temperature)


def _samples(records: SearchRecords) -> SampleTable:
    if records.samples is None:
        raise ConfigError(
            "this run has no gradients; objective trace-norm needs them: run the search with "
            "--objective trace-norm, or choose another objective"
        )
    return records.samples


def _path(records: SearchRecords, config: EstimateConfig) -> MeasurementTable:
    if PATH not in records.measurements:
        raise ConfigError(
            f"this run has no measurements; objective {config.objective} needs them: run the "
            f"search with --objective {config.objective}, or choose trace-norm"
        )
    return records.measurements[PATH].below(config.num_samples)


def refuse_impossible(space: SearchSpace, config: EstimateConfig, *, sample_per: str) -> None:
    """Refuse an estimate that no records of a space answer, before any are made.

    Args:
        space: The space.
        config: Settings of the estimate.
        sample_per: ``step`` or ``cell``.

    Raises:
        ConfigError: If no cell fits the budget, the space does not know costs that are needed, or
            every cell has a draw of its own, which only the straight-through gradient can use.
    """
    Budget(space, config).refuse_empty()
    _num_params(space, config)
    if sample_per == "cell" and config.estimator != "straight-through":
        raise ConfigError(
            f"sample_per is 'cell', so that no single cell is the sample, and estimator is "
            f"{config.estimator!r}; use --sample-per step, or --estimator straight-through"
        )


def _num_params(space: SearchSpace, config: EstimateConfig) -> FloatArray | None:
    """Parameters in standard deviations, of every configuration; None if they are no term."""
    if config.needs_gradient or not get_objective(config.objective).has_num_params:
        return None
    params = costs_of(space, "params")
    if params is None:
        raise ConfigError(
            f"objective {config.objective} needs the number of parameters of every cell, which "
            f"space {space.name!r} does not know; choose objective relative or expressive, or give "
            "the space a method `costs`"
        )
    return params / (params.std() or 1.0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Score:
    """A score of configurations: a surrogate, plus a number known of each."""

    surrogate: Surrogate
    known: FloatArray | None = None

    def grid(self) -> FloatArray:
        values = self.surrogate.grid()
        return values if self.known is None else values + self.known

    def select(self, space: SearchSpace, budget: Budget, *, num_starts: int) -> Selection:
        if can_be_enumerated(space):
            return select_enumerated(self.grid(), space, allowed=budget.allowed)
        return budget.select_by_ascent(self.surrogate, num_starts=num_starts)


class _TraceNormScorer:
    """Fits the paper's objective of e (eq. 13) without its gradient."""

    def __init__(self, table: SampleTable, space: SearchSpace, config: EstimateConfig) -> None:
        used = table.below(config.num_samples)
        if not used.ok.any():
            why = next(iter(used.errors.values()), "none was evaluated")
            raise NoGoodSamplesError(f"none of the {len(used)} samples is good: {why}")
        self._table, self._config = table, config
        self._order = 1 if config.estimator == "score-function" else 2
        chosen = chosen_candidates(used.choices[used.ok], space)
        self._design = Design(chosen, space, order=self._order)
        self._reward = trace_norm_reward(table, config)

    @property
    def num_samples(self) -> int:
        return len(self._reward)

    def score(self) -> _Score:
        (fit,) = self._design.fit(self._reward[:, None], ridge=RIDGE[self._order])
        return _Score(surrogate=fit)

    def draws(self, counts: IntArray) -> Iterator[Surrogate]:
        targets = np.broadcast_to(self._reward[:, None], (*counts.shape, 1))
        ridge = RIDGE[self._order]
        return self._design.fit_draws(targets, counts, ridge=ridge, standardized=False)


class _ObjectiveScorer:
    """Fits an objective of measurements."""

    def __init__(self, table: MeasurementTable, space: SearchSpace, config: EstimateConfig) -> None:
        there = ~table.lost
        self._objective = get_objective(config.objective)
        columns = [table.values[name] for name in self._objective.measurements]
        if not np.isfinite(columns).all(axis=0).any():
            why = next(iter(table.errors.values()), "no image reaches the logits")
            raise NoGoodSamplesError(f"none of the {len(table)} measurements is good: {why}")
        self._values = {name: table.values[name][there] for name in self._objective.measurements}
        self._order = 1 if config.estimator == "score-function" else 2
        chosen = chosen_candidates(table.choices[there], space)
        self._design = Design(chosen, space, order=self._order)
        self.num_samples = len(chosen)
        self._known = _num_params(space, config)

    def score(self) -> _Score:
        targets = rewards(self._objective, self._values)
        fits = self._design.fit(targets, ridge=RIDGE[self._order])
        return _Score(surrogate=standardized_sum(fits), known=self._known)

    def draws(self, counts: IntArray) -> Iterator[Surrogate]:
        targets = drawn_rewards(self._objective, self._values, counts)
        ridge = RIDGE[self._order]
        return self._design.fit_draws(targets, counts, ridge=ridge, standardized=True)


def _estimate_by_score(
    scorer: _TraceNormScorer | _ObjectiveScorer, space: SearchSpace, budget: Budget, num_draws: int
) -> Estimate:
    score = scorer.score()
    found = score.select(space, budget, num_starts=30)
    alpha_of: Callable[[Surrogate], FloatArray]
    if can_be_enumerated(space):
        alpha_of = EnumeratedAlpha(space, known=score.known, allowed=budget.allowed)
    else:

        def alpha_of(drawn: Surrogate) -> FloatArray:
            return budget.select_by_ascent(drawn, num_starts=5).alpha

    draws = [
        alpha_of(drawn)
        for counts in drawn_counts(scorer.num_samples, num_draws)
        for drawn in scorer.draws(counts)
    ]
    return Estimate(
        alpha=found.alpha,
        draws=np.reshape(draws, (num_draws, space.num_logits)),
        position=found.position,
        costs=budget.at(found.position),
        front=budget.front(score.grid()) if can_be_enumerated(space) else (),
    )


def _within(result: GradientEstimate, space: SearchSpace, budget: Budget) -> Estimate:
    """A gradient's estimate, whose score of a cell is the sum of the logits it takes."""
    if not can_be_enumerated(space) or budget.costs is None:
        if not budget.is_limited:
            return result
        logits = list(space.split(result.alpha).values())
        score = additive(
            [incidence(d) @ alpha for d, alpha in zip(space.decisions, logits, strict=True)]
        )
        found = budget.select_by_ascent(score, num_starts=5)
        return dataclasses.replace(result, alpha=found.alpha)
    logits = list(space.split(result.alpha).values())
    grid = additive(
        [incidence(d) @ alpha for d, alpha in zip(space.decisions, logits, strict=True)]
    ).grid()
    if budget.is_limited:
        position = select_enumerated(grid, space, allowed=budget.allowed).position
    else:
        position = position_of(space, result.alpha)
    return dataclasses.replace(
        result, front=budget.front(grid), position=position, costs=budget.at(position)
    )
