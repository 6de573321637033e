"""A space and its table: errors of its architectures, of samples, and of the whole space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.errors import ConfigError, DataError
from nasi_ray.records.rows import SampleTable
from nasi_ray.spaces import TabularArchitecture, TabularSpace, get_tabular_space
from nasi_ray.spaces.base import first_positions
from nasi_ray.tables import Metric, TabularBenchmark


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracies:
    """Errors in percent, of one metric of one table."""

    space: TabularSpace[Any]
    benchmark: TabularBenchmark
    metric: Metric

    def errors_percent(self, architectures: Sequence[TabularArchitecture]) -> FloatArray:
        """Of some architectures, shape (architectures,).

        Raises:
            DataError: If one is not in the table.
        """
        return self.benchmark.errors_percent(self.metric, architectures)

    def of_space(self) -> tuple[FloatArray, IntArray]:
        """Of every architecture, in the space's order; each is equally likely to be sampled.

        Returns:
            Errors, and numbers of parameters; shape (architectures,) each.

        Raises:
            DataError: If one is not in the table.
        """
        space, keys = self.space, self.space.keys()
        # Most configurations of S1, S2 and S3 are the same cell once pruned.
        first, cell_of = np.unique(first_positions(keys), return_inverse=True)
        counts = np.array([space.architecture(int(i)).num_params() for i in first])
        return self.benchmark.errors_percent(self.metric, keys), counts[cell_of]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SampledCells:
    """The good samples of one seed beside what the table says of their architectures."""

    index: IntArray
    """Sample index, shape (samples,)"""
    trace_norm: FloatArray
    """e, shape (samples,)"""
    error_percent: FloatArray
    """shape (samples,)"""
    num_params: FloatArray
    """shape (samples,)"""


def open_accuracies(space: str, table: str, metric: str) -> Accuracies:
    """Open a space's table.

    Args:
        space: A space that has one.
        table: A Parquet file, or a directory that has it under the space's name for it.
        metric: Column; empty: test accuracy on CIFAR-10 after the benchmark's full schedule.

    Raises:
        UnknownNameError: If there is no such space.
        ConfigError: If the space has no table, or none was named.
        DataError: If there is no such table or metric.
    """
    found = get_tabular_space(space)
    if not table:
        raise ConfigError(
            "no table was given; add --table with a Parquet table of accuracies, or the directory "
            f"that has {found.table_file}"
        )
    path = Path(table).expanduser()
    benchmark = TabularBenchmark.open(path / found.table_file if path.is_dir() else path)
    if metric:
        return Accuracies(space=found, benchmark=benchmark, metric=_named(benchmark, metric))
    default = benchmark.metric("test", dataset="cifar10", epochs=found.epochs)
    return Accuracies(space=found, benchmark=benchmark, metric=default)


def chosen_candidates(choices: npt.NDArray[np.int16], space: TabularSpace[Any]) -> FloatArray:
    """Which candidates samples chose, from the choices in their records.

    Args:
        choices: Of good samples with one draw for all cells, shape (samples, choices).
        space: Their space.

    Returns:
        1 where a candidate was chosen, else 0; shape (samples, num_logits).

    Raises:
        ConfigError: If every cell had a draw of its own, so that a sample is no single cell.
    """
    counts = [decision.num_chosen for decision in space.decisions]
    if choices.shape[1] != sum(counts):
        raise ConfigError(
            f"a sample has {choices.shape[1]} choices, and a cell of {space.name} makes "
            f"{sum(counts)}: every cell drew its own, so no cell of the table is the sample; "
            "use --sample-per step"
        )
    starts = np.repeat([where.start for where in space.slices], counts)
    chosen = np.zeros((len(choices), space.num_logits))
    np.put_along_axis(chosen, choices + starts, 1.0, axis=1)
    return chosen


def sampled_architectures(
    choices: npt.NDArray[np.int16], space: TabularSpace[Any]
) -> list[TabularArchitecture]:
    """The architectures of samples; arguments and errors as of ``chosen_candidates``."""
    return [space.select(space.split(row)) for row in chosen_candidates(choices, space)]


def sampled_cells(table: SampleTable, num_samples: int, accuracies: Accuracies) -> SampledCells:
    """Look the architectures of the good samples up.

    Args:
        table: Samples of one seed.
        num_samples: Samples with an index below this count.
        accuracies: Of their space.

    Raises:
        ConfigError: If every cell had a draw of its own.
        DataError: If an architecture is not in the table.
    """
    used = table.below(num_samples)
    architectures = sampled_architectures(used.choices[used.ok], accuracies.space)
    return SampledCells(
        index=used.index[used.ok],
        trace_norm=used.trace_norm[used.ok],
        error_percent=accuracies.errors_percent(architectures),
        num_params=np.array([a.num_params() for a in architectures], dtype=np.float64),
    )


def _named(benchmark: TabularBenchmark, column: str) -> Metric:
    if column in benchmark.metrics:
        return benchmark.metrics[column]
    has = "; ".join(m.describe() for m in benchmark.metrics.values()) or "no accuracies"
    raise DataError(f"{benchmark.name} has no metric {column!r}; it has {has}")


class SpaceReference:
    """What needs no search: the errors of the whole space, by which a search is to be judged."""

    def __init__(self, accuracies: Accuracies) -> None:
        """Look every architecture of the space up.

        Raises:
            DataError: If one is not in the table.
        """
        self.errors, self.num_params = accuracies.of_space()
        """Percent and parameters, shape (architectures,) each, in the space's order."""

    @property
    def expected(self) -> float:
        """Expected error of a random architecture: what choosing blindly gives."""
        return float(self.errors.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the error of a random architecture."""
        return float(self.errors.std())

    @property
    def best(self) -> float:
        """Smallest error there is, by the very metric that is reported."""
        return float(self.errors.min())

    def best_of(self, num_architectures: int) -> float:
        """Expected error of the best of k random architectures, if an oracle could tell which.

        E min = Σ_i e_(i) ((1 - (i - 1)/n)^k - (1 - i/n)^k) with errors sorted ascending: exact for
        draws with replacement. No search has this oracle: it reads the metric that is reported.

        Args:
            num_architectures: k ≥ 1.
        """
        errors = np.sort(self.errors)
        survivors = (1 - np.arange(len(errors) + 1) / len(errors)) ** num_architectures
        return float(errors @ (survivors[:-1] - survivors[1:]))

    def share_better(self, error_percent: float) -> float:
        """Share of the space's architectures with a smaller error, in [0, 1]."""
        return float((self.errors < error_percent).mean())

    @property
    def most_parameters(self) -> tuple[int, float, float, int]:
        """Largest parameter count; mean and spread (std) of the errors that have it; how many."""
        largest = int(self.num_params.max())
        errors = self.errors[self.num_params == largest]
        return largest, float(errors.mean()), float(errors.std()), len(errors)
