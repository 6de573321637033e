"""Table error against e of the sampled architectures, and over ν and μ (Figures 3 and 4)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.config import EstimateConfig
from nasi_ray.records.rows import SampleTable
from nasi_ray.statistics import Kind
from nasi_ray.study.accuracies import Accuracies, SampledCells
from nasi_ray.study.correlation import Correlation, correlate
from nasi_ray.study.selection import SeedStatistics, Selection, over_seeds, replay

NUM_GROUPS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A tenth of every seed's samples, by e."""

    mean_trace_norm: float
    mean_error: float
    """Percent."""
    std_error: float
    """Standard deviation of the errors in the group, percent."""
    mean_num_params: float
    num: int
    """Samples of all seeds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation:
    """How x goes with y over the sampled architectures, signed."""

    x: str
    y: str
    spearman: Correlation
    kendall: Correlation


@dataclass(frozen=True, kw_only=True, slots=True)
class GridPoint:
    """The searches of all seeds with one ν and μ."""

    method: Literal["fix", "ada"]
    nu: float | str
    """As in ``EstimateConfig``; a percentile is of the seed's own e."""
    mu: float
    selections: tuple[Selection, ...]
    statistics: SeedStatistics


def relations(seeds: Sequence[SampledCells]) -> tuple[Relation, ...]:
    """Rank correlations of e, number of parameters and error: positive if they grow together.

    Args:
        seeds: The samples of every seed.
    """
    columns = {
        "e": [s.trace_norm for s in seeds],
        "parameters": [s.num_params for s in seeds],
        "error": [s.error_percent for s in seeds],
    }

    def related(x: str, y: str, kind: Kind) -> Correlation:
        return correlate(list(zip(columns[x], columns[y], strict=True)), kind)

    pairs = (("e", "error"), ("parameters", "error"), ("e", "parameters"))
    return tuple(
        Relation(x=x, y=y, spearman=related(x, y, "spearman"), kendall=related(x, y, "kendall"))
        for x, y in pairs
    )


def groups_by_trace_norm(seeds: Sequence[SampledCells]) -> tuple[Group, ...]:
    """Group every seed's samples into tenths by e, and average over the seeds' groups.

    Groups are made within a seed, whose θ0 may set the scale of e.

    Args:
        seeds: The samples of every seed.

    Returns:
        From small to large e; fewer groups where a seed has fewer than ten samples.
    """
    num_groups = min(NUM_GROUPS, *(len(s.trace_norm) for s in seeds))
    members: list[list[tuple[float, float, float]]] = [[] for _ in range(num_groups)]
    for seed in seeds:
        order = np.argsort(seed.trace_norm, kind="stable")
        for group, rows in zip(members, np.array_split(order, num_groups), strict=True):
            columns = (seed.trace_norm[rows], seed.error_percent[rows], seed.num_params[rows])
            group += zip(*(column.tolist() for column in columns), strict=True)
    return tuple(_group(np.array(rows)) for rows in members)


def constraint_grid(
    tables: Sequence[SampleTable],
    config: EstimateConfig,
    accuracies: Accuracies,
    *,
    nus: Sequence[float | str],
    mus: Sequence[float],
) -> tuple[GridPoint, ...]:
    """Replay the searches for every method, ν and μ.

    Args:
        tables: Records, one table a seed.
        config: Settings of the estimate; method, ν and μ are replaced.
        accuracies: Of the records' space.
        nus: Values of ``EstimateConfig.nu``; of ADA they give the initial value.
        mus: Penalty coefficients.

    Raises:
        ConfigError: If a ν or μ is not allowed.
        NasiRayError: If the samples of a seed are all bad.
    """
    points = []
    for method in ("fix", "ada"):
        for mu in mus:
            for nu in nus:
                changed = dataclasses.replace(config, method=method, nu=nu, mu=mu)
                selections = tuple(replay(table, changed, accuracies) for table in tables)
                points.append(
                    GridPoint(
                        method=changed.method,
                        nu=nu,
                        mu=mu,
                        selections=selections,
                        statistics=over_seeds(selections),
                    )
                )
    return tuple(points)


def _group(rows: FloatArray) -> Group:
    e, error, num_params = rows.T
    return Group(
        mean_trace_norm=float(e.mean()),
        mean_error=float(error.mean()),
        std_error=float(error.std()),
        mean_num_params=float(num_params.mean()),
        num=len(rows),
    )
