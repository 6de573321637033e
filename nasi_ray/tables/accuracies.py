"""A space and its table of accuracies: which file, which column, and the errors it has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.errors import ConfigError, DataError, UnknownNameError
from nasi_ray.spaces import get_space
from nasi_ray.spaces.graph import Bytes
from nasi_ray.spaces.nb1shot1 import NB1Shot1Architecture, NB1Shot1Space
from nasi_ray.spaces.nb201 import NB201Architecture, NB201Space
from nasi_ray.tables.metric import SPLIT_NAMES, Metric
from nasi_ray.tables.tabular import Key, TabularBenchmark

Architecture = NB1Shot1Architecture | NB201Architecture
TabularSpace = NB1Shot1Space | NB201Space

TABLE_FILES = {
    "s1": "nasbench1shot1_s1.parquet",
    "s2": "nasbench1shot1_s2.parquet",
    "s3": "nasbench1shot1_s3.parquet",
    "nb201": "nasbench201.parquet",
}
"""Space -> name of its table in a directory of tables, as ``jobs/convert.py`` writes them."""

_DEFAULT_EPOCHS = {"s1": 108, "s2": 108, "s3": 108, "nb201": 200}


def tabular_space(name: str) -> TabularSpace:
    """Look up a space that has a table.

    Raises:
        UnknownNameError: If there is no space of that name.
        ConfigError: If it has no table of accuracies.
    """
    space = get_space(name)
    if isinstance(space, TabularSpace):
        return space
    raise ConfigError(
        f"space {name} has no table of accuracies; choose one of {', '.join(TABLE_FILES)}"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracies:
    """Errors in percent, of one metric of one table."""

    space: TabularSpace
    benchmark: TabularBenchmark
    metric: Metric

    @property
    def error_name(self) -> str:
        """``test error``, or that of the split the metric is of."""
        return f"{SPLIT_NAMES[self.metric.split]} error"

    def errors_percent(self, keys: Iterable[Key] | Bytes) -> FloatArray:
        """Of some architectures, shape (architectures,).

        Args:
            keys: Architectures, or what the table finds them by (``TabularBenchmark.rows``).

        Raises:
            DataError: If one is not in the table.
        """
        return self.benchmark.errors_percent(self.metric, keys)

    def of_space(self) -> tuple[FloatArray, IntArray]:
        """Of every architecture, in the space's order; each is equally likely to be sampled.

        Returns:
            Errors, and numbers of parameters; shape (architectures,) each.

        Raises:
            DataError: If one is not in the table.
        """
        keys = _all_keys(self.space)
        # Most configurations are the same cell once pruned, with the same parameters.
        _, first, cell_of = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        counts = np.array([self.space.architecture(int(i)).num_params() for i in first])
        return self.errors_percent(keys), counts[cell_of.ravel()]


def open_accuracies(space: str, table: str, metric: str | None = None) -> Accuracies:
    """Open a space's table, and choose a column.

    Args:
        space: A space that has one.
        table: A Parquet file, or a directory that has it under the name of ``TABLE_FILES``.
        metric: Column; None or empty: the only one there is, else test accuracy on CIFAR-10 after
            the benchmark's full schedule.

    Raises:
        UnknownNameError: If there is no such space or metric.
        ConfigError: If the space has no table, or none was named.
        DataError: If the table cannot be read, is of another space, or has no such default.
    """
    found = tabular_space(space)
    if not table:
        raise ConfigError(
            "no table was given; add --table with a Parquet table of accuracies, or the directory "
            f"that has {TABLE_FILES[space]}"
        )
    path = Path(table).expanduser()
    benchmark = TabularBenchmark.open(path / TABLE_FILES[space] if path.is_dir() else path)
    key = _key_column(found)
    if benchmark.key != key:
        raise DataError(
            f"{benchmark.name} is keyed by {benchmark.key!r} and no table of {space}, which is "
            f"keyed by {key!r}"
        )
    chosen = _choose(benchmark, metric, _DEFAULT_EPOCHS[space])
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


# What follows asks for the kind of a space; a space that says it itself replaces it.


def _key_column(space: TabularSpace) -> str:
    return "hash" if isinstance(space, NB1Shot1Space) else "arch"


def _all_keys(space: TabularSpace) -> Bytes | list[str]:
    if isinstance(space, NB1Shot1Space):
        return space.hashes()
    return [cell.to_string() for cell in space]
