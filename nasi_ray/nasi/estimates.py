"""From a search's records to α and a cell, by any estimator and objective; pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.config import GRADIENT_ESTIMATORS, PATH, EstimateConfig
from nasi_ray.errors import ConfigError, NoGoodSamplesError
from nasi_ray.nasi.bootstrap import drawn_counts, gradient_draws
from nasi_ray.nasi.budget import Budget
from nasi_ray.nasi.estimator import (
    Estimate,
    estimate,
    trace_norm_reward,
)
from nasi_ray.nasi.objectives import drawn_rewards, get_objective, rewards
from nasi_ray.nasi.replay import replay
from nasi_ray.nasi.scores import alpha_of_scores, known_score, select_score, within_budget
from nasi_ray.nasi.surrogate import Design, Surrogate, standardized_sum
from nasi_ray.records.rows import MeasurementTable, SampleTable, SearchRecords
from nasi_ray.spaces.base import Architecture, SearchSpace
from nasi_ray.spaces.options import (
    architecture_at,
    chosen_candidates,
)

NUM_DRAWS = 200
"""Bootstrap draws of the samples."""
MIN_RESAMPLED = 4
"""Of fewer samples the draws are too alike to say how sure a choice is: there are none."""
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
        num_draws: Bootstrap draws; 0: there is no front, a score's margins have no errors, and a
            gradient's terms are drawn in place of its samples.

    Raises:
        NoGoodSamplesError: If no sample is good.
        ConfigError: If the records lack what the estimate reads, or no cell fits the budget.
    """
    budget = Budget(space, config, with_front=num_draws > 0)
    budget.refuse_empty()
    if config.estimator in GRADIENT_ESTIMATORS:
        table = _replayed(_samples(records), space, config, settings)
        found = estimate(table, config)
        draws = gradient_draws(found, table, config, num_draws)
        return within_budget(found, space, budget, draws=draws, with_draws=num_draws > 0)
    scorer: _TraceNormScorer | _ObjectiveScorer
    if config.needs_gradient:
        scorer = _TraceNormScorer(_samples(records), space, config)
    else:
        scorer = _ObjectiveScorer(_path(records, config), space, config)
    return _estimate_by_score(scorer, space, budget, num_draws)


def selected_cells(
    records: SearchRecords,
    space: SearchSpace,
    configs: Sequence[EstimateConfig],
    settings: Mapping[str, Any],
) -> list[Architecture]:
    """The cells of ``make_estimate`` for many settings, without draws and fronts.

    Args:
        records: As for ``make_estimate``.
        space: As there.
        configs: Settings of the estimates.
        settings: As there.

    Raises:
        NoGoodSamplesError: As ``make_estimate``.
        ConfigError: As ``make_estimate``.
    """
    replayed: dict[str, SampleTable] = {}
    cells = []
    for config in configs:
        if config.estimator in GRADIENT_ESTIMATORS and not Budget(space, config).is_limited:
            if config.estimator not in replayed:
                table = _replayed(_samples(records), space, config, settings)
                replayed[config.estimator] = table
            alpha = estimate(replayed[config.estimator], config).alpha
            cells.append(space.select(space.split(alpha), pairing=config.pairing))
        else:
            found = make_estimate(records, space, config, settings, num_draws=0)
            cells.append(architecture_of(found, space, config))
    return cells


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
    known_score(space, config)
    if sample_per == "cell" and config.estimator != "straight-through":
        raise ConfigError(
            "sample_per is 'cell', so each cell of the network has its own draw, but estimator "
            f"{config.estimator!r} needs one draw for all cells; use --sample-per step, or "
            "--estimator straight-through"
        )


class _TraceNormScorer:
    """Fits the paper's objective of e (eq. 13) without its gradient."""

    known: FloatArray | None = None

    def __init__(self, table: SampleTable, space: SearchSpace, config: EstimateConfig) -> None:
        used = table.below(config.num_samples)
        if not used.ok.any():
            why = next(iter(used.errors.values()), "no sample was evaluated")
            raise NoGoodSamplesError(
                f"none of the {len(used)} samples is usable: {why}; change the settings that cause "
                "it"
            )
        self._table, self._config = table, config
        self._order = 1 if config.estimator == "score-function" else 2
        chosen = chosen_candidates(used.choices[used.ok], space)
        self._design = Design(chosen, space, order=self._order)
        self._reward = trace_norm_reward(table, config)

    @property
    def num_samples(self) -> int:
        return len(self._reward)

    def score(self) -> Surrogate:
        return standardized_sum(self._design.fit(self._reward[:, None], ridge=RIDGE[self._order]))

    def draws(self, counts: IntArray) -> Iterator[Surrogate]:
        targets = np.broadcast_to(self._reward[:, None], (*counts.shape, 1))
        ridge = RIDGE[self._order]
        return self._design.fit_draws(targets, counts, ridge=ridge, standardized=True)


class _ObjectiveScorer:
    """Fits an objective of measurements."""

    def __init__(self, table: MeasurementTable, space: SearchSpace, config: EstimateConfig) -> None:
        there = ~table.lost
        self._objective = get_objective(config.objective)
        columns = [table.values[name] for name in self._objective.measurements]
        if not np.isfinite(columns).all(axis=0).any():
            why = next(iter(table.errors.values()), "the logits do not depend on the images")
            raise NoGoodSamplesError(
                f"none of the {len(table)} measurements is usable: {why}; change the settings that "
                "cause it"
            )
        self._values = {name: table.values[name][there] for name in self._objective.measurements}
        self._order = 1 if config.estimator == "score-function" else 2
        chosen = chosen_candidates(table.choices[there], space)
        self._design = Design(chosen, space, order=self._order)
        self.num_samples = len(chosen)
        self.known = known_score(space, config)

    def score(self) -> Surrogate:
        targets = rewards(self._objective, self._values)
        return standardized_sum(self._design.fit(targets, ridge=RIDGE[self._order]))

    def draws(self, counts: IntArray) -> Iterator[Surrogate]:
        targets = drawn_rewards(self._objective, self._values, counts)
        ridge = RIDGE[self._order]
        return self._design.fit_draws(targets, counts, ridge=ridge, standardized=True)


def _estimate_by_score(
    scorer: _TraceNormScorer | _ObjectiveScorer, space: SearchSpace, budget: Budget, num_draws: int
) -> Estimate:
    found = select_score(scorer.score(), scorer.known, space, budget)
    if scorer.num_samples < MIN_RESAMPLED:
        return found
    alpha_of = alpha_of_scores(space, scorer.known, budget)
    draws = [
        alpha_of(drawn)
        for counts in drawn_counts(scorer.num_samples, num_draws)
        for drawn in scorer.draws(counts)
    ]
    return dataclasses.replace(found, draws=np.reshape(draws, (num_draws, space.num_logits)))
