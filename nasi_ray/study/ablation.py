"""One setting changed at a time: what it does to the selected cells and to e (App. C.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nasi_ray.config import EstimateConfig
from nasi_ray.records.rows import SampleTable
from nasi_ray.study.accuracies import Accuracies, sampled_cells
from nasi_ray.study.correlation import Correlation, correlate
from nasi_ray.study.selection import SeedStatistics, Selection, over_seeds, replay


@dataclass(frozen=True, kw_only=True, slots=True)
class Variation:
    """The searches of all seeds with one setting changed."""

    factor: str
    value: str
    is_base: bool
    """Whether the value is that of the base settings."""
    selections: tuple[Selection, ...] = ()
    """One per seed."""
    statistics: SeedStatistics | None = None
    spearman: Correlation | None = None
    """Of e and the table's error over the samples; None where every cell draws its own, so that a
    sample is no cell of the table."""
    median_trace_norm: float = float("nan")
    """Of the seeds' medians of e, the mean."""
    share_penalised: float = float("nan")
    """Mean over the seeds of the share of samples with e > ν."""
    failure: str = ""
    """Why there is no result; empty where there is one."""


def vary(
    factor: str,
    value: str,
    tables: Sequence[SampleTable],
    config: EstimateConfig,
    accuracies: Accuracies,
    *,
    is_base: bool,
    is_one_cell: bool,
) -> Variation:
    """Replay the searches of one variation.

    Args:
        factor: Name of the setting that is changed.
        value: What it is changed to.
        tables: Records, one table a seed.
        config: Settings of the estimate.
        accuracies: Of the records' space.
        is_base: Whether this is the base setting.
        is_one_cell: Whether a sample is one cell of the table.

    Raises:
        NasiRayError: If the samples of a seed are all bad.
    """
    selections = tuple(replay(table, config, accuracies) for table in tables)
    used = [table.below(config.num_samples) for table in tables]
    medians = [np.median(table.trace_norm[table.ok]) for table in used]
    return Variation(
        factor=factor,
        value=value,
        is_base=is_base,
        selections=selections,
        statistics=over_seeds(selections),
        spearman=_spearman(tables, config, accuracies) if is_one_cell else None,
        median_trace_norm=float(np.mean(medians)),
        share_penalised=float(np.mean([s.share_penalised for s in selections])),
    )


def _spearman(
    tables: Sequence[SampleTable], config: EstimateConfig, accuracies: Accuracies
) -> Correlation:
    cells = [sampled_cells(table, config.num_samples, accuracies) for table in tables]
    return correlate([(c.trace_norm, c.error_percent) for c in cells], "spearman")
