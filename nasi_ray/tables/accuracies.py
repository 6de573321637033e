"""A space and its table of accuracies: the file, the column, and the errors in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.errors import ConfigError, DataError, UnknownNameError
from nasi_ray.files import user_path
from nasi_ray.spaces import TabularSpace, get_tabular_space
from nasi_ray.spaces.base import first_positions
from nasi_ray.spaces.graph import Bytes
from nasi_ray.tables.metric import SPLIT_NAMES, Metric
from nasi_ray.tables.tabular import Key, TabularBenchmark


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracies:
    """Errors in percent, of one metric of one table."""

    space: TabularSpace[Any]
    benchmark: TabularBenchmark
    metric: Metric

    @property
    def error_name(self) -> str:
        """``test error``, or the error of the metric's split."""
        return f"{SPLIT_NAMES[self.metric.split]} error"

    def errors_percent(self, keys: Iterable[Key] | Bytes) -> FloatArray:
        """Errors of some architectures, shape (architectures,).

        Args:
            keys: Architectures, or their keys in the table (``TabularBenchmark.rows``).

        Raises:
            DataError: If one is not in the table.
        """
        return self.benchmark.errors_percent(self.metric, keys)

    def of_space(self) -> tuple[FloatArray, IntArray]:
        """Errors of every configuration, in the space's order; all are equally likely samples.

        Returns:
            Errors, and numbers of parameters; shape (architectures,) each.

        Raises:
            DataError: If one is not in the table.
        """
        return self.errors_percent(self.space.keys()), _params_of_space(self.space)


@cache
def _params_of_space(space: TabularSpace[Any]) -> IntArray:
    """Numbers of parameters of every configuration, read-only: counting takes a second."""
    # Most configurations of S1, S2 and S3 are the same cell once pruned.
    first, cell_of = np.unique(first_positions(space.keys()), return_inverse=True)
    counts = np.array([space.architecture(int(i)).num_params() for i in first])
    params: IntArray = counts[cell_of]
    params.flags.writeable = False
    return params


def open_accuracies(space: str, table: str, metric: str | None = None) -> Accuracies:
    """Open a space's table, and choose a column.

    Args:
        space: A space that can be enumerated.
        table: A Parquet file, or a directory that holds the space's ``table_file``.
        metric: Column; None or empty: the only one, else test accuracy on CIFAR-10 after the
            benchmark's full schedule.

    Raises:
        UnknownNameError: If the space or metric is not known.
        ConfigError: If the space has no table, or no table was given.
        DataError: If the table cannot be read, is for another space, or has no such default.
    """
    found = get_tabular_space(space)
    if not table:
        raise ConfigError(
            "no table was given; add --table with a Parquet table of accuracies, or the directory "
            f"that holds {found.table_file}"
        )
    path = user_path(table)
    benchmark = TabularBenchmark.open(path / found.table_file if path.is_dir() else path)
    if benchmark.key != found.key_column:
        raise DataError(
            f"{benchmark.name} is keyed by {benchmark.key!r}, but tables of {space} are keyed by "
            f"{found.key_column!r}; give a table of {space}"
        )
    chosen = _choose(benchmark, metric, found.epochs)
    return Accuracies(space=found, benchmark=benchmark, metric=chosen)


def _choose(benchmark: TabularBenchmark, column: str | None, epochs: int) -> Metric:
    if column:
        if column not in benchmark.metrics:
            raise UnknownNameError(f"metric of {benchmark.name}", column, list(benchmark.metrics))
        return benchmark.metrics[column]
    if len(benchmark.metrics) == 1:
        return next(iter(benchmark.metrics.values()))
    try:
        return benchmark.metric("test", dataset="cifar10", epochs=epochs)
    except DataError as error:
        raise DataError(f"{error}; choose with --metric") from None
