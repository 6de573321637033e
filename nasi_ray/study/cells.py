"""What the seeds of a search select, and their consensus: for spaces with or without a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nasi_ray.config import EstimateConfig
from nasi_ray.nasi.estimator import Estimate, estimate, kept_margins
from nasi_ray.records.rows import SampleTable
from nasi_ray.spaces.base import SearchSpace
from nasi_ray.study.selection import mean_over_seeds, undetermined

CLEAR_ABOVE = 2.0
"""A decision is clear where its margin is at least so many standard errors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectedCell:
    """The cell that one α* selects."""

    fields: dict[str, Any]
    """What names it, as in ``result.json``."""
    num_params: int | None
    """Of the benchmark's own network; None where the space has none."""
    undetermined: tuple[str, ...]
    """Decisions in which the last candidate taken and the first left out tie, so that the order in
    which candidates are listed decides, and not the samples."""
    num_clear: int | None
    """Decisions that are at least ``CLEAR_ABOVE`` standard errors apart; None where there is no
    standard error (the consensus of one seed, a search of one sample)."""
    num_decisions: int
    """Decisions in which something is left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectedCells:
    """The cells of all seeds."""

    cells: tuple[SelectedCell, ...]
    """One per seed."""
    consensus: SelectedCell
    """Of the mean of the seeds' α*; its standard errors are those of the spread over seeds."""


def select_cells(
    tables: Sequence[SampleTable], config: EstimateConfig, space: SearchSpace
) -> SelectedCells:
    """Replay the searches of all seeds.

    Args:
        tables: Samples, one table a seed (at least one).
        config: Settings of the estimate.
        space: Of the records.

    Raises:
        NasiRayError: If of one seed no sample is good.
    """
    results = [estimate(table, config) for table in tables]
    return SelectedCells(
        cells=tuple(_cell(result, config, space) for result in results),
        consensus=_cell(mean_over_seeds(results), config, space),
    )


def _cell(result: Estimate, config: EstimateConfig, space: SearchSpace) -> SelectedCell:
    architecture = space.select(space.split(result.alpha), pairing=config.pairing)
    margins = kept_margins(result, space)
    is_known = all(math.isfinite(m.standard_error) for m in margins.values())
    clear = [m.value > 0 and m.value >= CLEAR_ABOVE * m.standard_error for m in margins.values()]
    return SelectedCell(
        fields=architecture.fields(),
        num_params=architecture.num_params(),
        undetermined=undetermined(margins),
        num_clear=sum(clear) if is_known else None,
        num_decisions=len(margins),
    )
