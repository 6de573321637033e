"""What records select under an estimate's settings, and how good that is by the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.config import EstimateConfig
from nasi_ray.nasi.consensus import mean_gradient
from nasi_ray.nasi.estimator import Estimate, Margin, estimate, kept_margins
from nasi_ray.records.rows import SampleTable
from nasi_ray.tables.accuracies import Accuracies


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The cell that one α* selects."""

    architecture: str
    """In the table's notation."""
    error_percent: float
    """By the table."""
    num_params: int
    """Of the benchmark's own network of the cell."""
    tied: tuple[str, ...]
    """Decisions in which the last candidate taken and the first left out tie, so that the order in
    which candidates are listed decides, and not the samples."""
    share_penalised: float
    """Share of the good samples with e > ν, in [0, 1]; NaN for a consensus."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedStatistics:
    """Errors of the selected cells over seeds; cells with ties do not count."""

    mean: float
    """Percent; NaN where there is none."""
    std: float
    """Standard deviation (n - 1), percent; NaN below two."""
    mean_num_params: float
    num: int
    """Seeds that count."""
    num_tied: int
    """Seeds left out."""


def replay(table: SampleTable, config: EstimateConfig, accuracies: Accuracies) -> Selection:
    """Select a cell from records.

    Args:
        table: Samples of one seed.
        config: Settings of the estimate.
        accuracies: Of the records' space.

    Raises:
        NoGoodSamplesError: If no sample is good.
        DataError: If the cell is not in the table.
    """
    result = estimate(table, config)
    used = table.below(config.num_samples)
    share = float((used.trace_norm[used.ok] > result.nu).mean())
    return _select(result, config, accuracies, share)


def consensus(
    tables: Sequence[SampleTable], config: EstimateConfig, accuracies: Accuracies
) -> Selection:
    """Select from the mean of the seeds' α*.

    Args:
        tables: Samples, one table a seed (at least one).
        config: Settings of the estimate.
        accuracies: Of the records' space.

    Raises:
        NoGoodSamplesError: If no sample of a seed is good.
        DataError: If the cell is not in the table.
    """
    result = mean_gradient([estimate(table, config) for table in tables])
    return _select(result, config, accuracies, float("nan"))


def tied(margins: Mapping[str, Margin]) -> tuple[str, ...]:
    """Decisions in which the last candidate taken and the first left out tie."""
    return tuple(name for name, margin in margins.items() if margin.value == 0)


def over_seeds(selections: Sequence[Selection]) -> SeedStatistics:
    """Mean and standard deviation over the selections without ties."""
    counted = [s for s in selections if not s.tied]
    errors = np.array([s.error_percent for s in counted])
    return SeedStatistics(
        mean=float(errors.mean()) if len(errors) else float("nan"),
        std=float(errors.std(ddof=1)) if len(errors) > 1 else float("nan"),
        mean_num_params=float(np.mean([s.num_params for s in counted])) if counted else np.nan,
        num=len(counted),
        num_tied=len(selections) - len(counted),
    )


def _select(
    result: Estimate, config: EstimateConfig, accuracies: Accuracies, share: float
) -> Selection:
    space = accuracies.space
    architecture = space.select(space.split(result.alpha), pairing=config.pairing)
    errors: FloatArray = accuracies.errors_percent([architecture])
    return Selection(
        architecture=architecture.to_string(),
        error_percent=float(errors[0]),
        num_params=architecture.num_params(),
        tied=tied(kept_margins(result, space)),
        share_penalised=share,
    )
