"""How good the selected cell is after T' samples: replays of one set of records (Figure 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from nasi_ray.config import EstimateConfig
from nasi_ray.errors import ConfigError
from nasi_ray.records.rows import SampleTable
from nasi_ray.study.accuracies import Accuracies, SpaceReference
from nasi_ray.study.selection import SeedStatistics, Selection, over_seeds, replay


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """The searches of all seeds, ended after T' samples."""

    num_samples: int
    """T'."""
    selections: tuple[Selection, ...]
    """One per seed."""
    statistics: SeedStatistics
    oracle_error: float
    """Expected error of the best of T' random architectures, picked by the table itself."""


def search_curve(
    tables: Sequence[SampleTable],
    config: EstimateConfig,
    accuracies: Accuracies,
    reference: SpaceReference,
    *,
    step: int,
) -> tuple[Budget, ...]:
    """Replay the searches for T' = step, 2·step, …, T.

    Args:
        tables: Records, one table a seed.
        config: Settings of the estimate; its ``num_samples`` is T.
        accuracies: Of the records' space.
        reference: Of the same.
        step: Samples between two points.

    Raises:
        ConfigError: If ``step`` is below 1.
        NasiRayError: If the first samples of a seed are all bad.
    """
    curve = []
    for num_samples in budgets(config.num_samples, step):
        shorter = dataclasses.replace(config, num_samples=num_samples)
        selections = tuple(replay(table, shorter, accuracies) for table in tables)
        curve.append(
            Budget(
                num_samples=num_samples,
                selections=selections,
                statistics=over_seeds(selections),
                oracle_error=reference.best_of(num_samples),
            )
        )
    return tuple(curve)


def budgets(num_samples: int, step: int) -> list[int]:
    """step, 2·step, … and T itself.

    Raises:
        ConfigError: If ``step`` is below 1.
    """
    if step < 1:
        raise ConfigError(f"step is {step}; it must be at least 1")
    return sorted({*range(step, num_samples, step), num_samples})
