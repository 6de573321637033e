"""Searches on true labels, random labels and random data beside what needs no search (Table 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nasi_ray.config import EstimateConfig
from nasi_ray.records.rows import SampleTable
from nasi_ray.study.accuracies import Accuracies
from nasi_ray.study.selection import SeedStatistics, Selection, consensus, over_seeds, replay


@dataclass(frozen=True, kw_only=True, slots=True)
class ModeResult:
    """The searches of all seeds in one data mode."""

    selections: tuple[Selection, ...]
    """One per seed."""
    statistics: SeedStatistics
    consensus: Selection
    """From the mean of the seeds' α*."""


def search_all(
    tables: Sequence[SampleTable], config: EstimateConfig, accuracies: Accuracies
) -> ModeResult:
    """Replay the searches of one data mode.

    Args:
        tables: Records, one table a seed.
        config: Settings of the estimate.
        accuracies: Of the records' space.

    Raises:
        NasiRayError: If the samples of a seed are all bad.
    """
    selections = tuple(replay(table, config, accuracies) for table in tables)
    return ModeResult(
        selections=selections,
        statistics=over_seeds(selections),
        consensus=consensus(tables, config, accuracies),
    )
