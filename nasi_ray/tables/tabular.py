"""Look accuracies up in a Parquet table by architecture or hash.

Every number has its split and schedule; one is never returned in place of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.display.formats import plural
from nasi_ray.errors import DataError, InvalidGenotypeError
from nasi_ray.parquet_file import UNREADABLE, read_table, reason_of
from nasi_ray.spaces.base import TabularArchitecture
from nasi_ray.spaces.genotype import Genotype
from nasi_ray.spaces.graph import Bytes
from nasi_ray.spaces.nb1shot1 import NB1Shot1Architecture
from nasi_ray.tables.metric import SPLIT_NAMES, Metric, Split, column_metric

Key = TabularArchitecture | str | bytes
"""An architecture or its string (``to_string``), or a hash (hexadecimal or 16 bytes)."""

_KEY_COLUMNS = ("hash", "arch", "genotype")
_HASH_BYTES = 16
_MAX_KEY_BYTES = 1000
_MAX_TRIALS = 100


class TabularBenchmark:
    """A table in memory, keyed by NAS-Bench-101 hash, NAS-Bench-201 string or DARTS genotype."""

    def __init__(self, table: pa.Table, name: str) -> None:
        """Index a table.

        Args:
            table: Has a column ``hash`` (16 bytes), ``arch`` or ``genotype`` (strings).
            name: For error messages.

        Raises:
            DataError: If it has neither, rows with the same key disagree, or accuracies are not in
                their unit.
        """
        self.name = name
        _check_names(table, name)
        self.key = next((k for k in _KEY_COLUMNS if k in table.column_names), "")
        if not self.key:
            raise DataError(
                f"{name} has columns {', '.join(table.column_names)}; it needs 'hash', 'arch' "
                "or 'genotype'"
            )
        self._table = table
        found = (column_metric(f.name, f.metadata, self.key) for f in table.schema)
        self.metrics: Mapping[str, Metric] = {m.column: m for m in found if m is not None}
        """Column name -> what its numbers mean."""
        self._trials = {column: _trial_matrix(table[column], name) for column in self.metrics}
        for metric in self.metrics.values():
            _check_unit(metric, self._trials[metric.column], name)
        keys = _key_array(table[self.key], self.key, name)
        self._order = np.argsort(keys, kind="stable").astype(np.int64)
        self._sorted = keys[self._order]
        self._check_repeated()

    @classmethod
    def open(cls, path: str | Path) -> TabularBenchmark:
        """Read a Parquet file.

        Raises:
            DataError: If the file is missing, is not Parquet, or is not a table as above.
        """
        try:
            table = read_table(path)
        except FileNotFoundError:
            raise DataError(f"there is no table {path}; give the path of a Parquet file") from None
        except DataError as error:
            raise DataError(f"table {path}: {error}") from None
        except UNREADABLE as error:
            raise DataError(
                f"table {path} cannot be read as Parquet: {reason_of(error)}; give a table of "
                "accuracies (docs/tables.md)"
            ) from error
        return cls(table, str(path))

    def __len__(self) -> int:
        return len(self._order)

    def metric(
        self, split: Split, *, dataset: str | None = None, epochs: int | None = None
    ) -> Metric:
        """Find the one column of accuracies with these properties.

        Args:
            split: The images measured on.
            dataset: May be left out if the table has the split for one data set only.
            epochs: May be left out if the table has the split for one schedule only.

        Raises:
            DataError: If no column or more than one matches; lists the columns.
        """
        found = [
            m
            for m in self.metrics.values()
            if m.split == split and dataset in (None, m.dataset) and epochs in (None, m.epochs)
        ]
        if len(found) == 1:
            return found[0]
        asked = [f"{SPLIT_NAMES[split]} accuracy", *([dataset] if dataset else [])]
        asked += [plural(epochs, "epoch")] if epochs is not None else []
        has = "; ".join(m.describe() for m in (found or self.metrics.values())) or "no accuracies"
        verb = "has more than one" if found else "has no"
        raise DataError(f"{self.name} {verb} {', '.join(asked)}; it has {has}")

    def rows(self, keys: Iterable[Key] | Bytes) -> IntArray:
        """Find rows; if a key has several equal rows, the first.

        Args:
            keys: Architectures, hashes or strings; or hashes as an array of shape (cells, 16).

        Returns:
            shape (cells,)

        Raises:
            DataError: If one is not in the table; names the first.
        """
        wanted = self._wanted(keys)
        if not len(self):
            raise DataError(f"{self.name} has no rows")
        position = np.searchsorted(self._sorted, wanted)
        position = np.minimum(position, len(self._sorted) - 1)
        missing = self._sorted[position] != wanted
        if num_missing := int(missing.sum()):
            are = "is" if num_missing == 1 else "are"
            raise DataError(
                f"{self.name} has no architecture {self._show(wanted[int(np.argmax(missing))])}; "
                f"{num_missing} of the {len(wanted)} architectures asked for {are} missing: give a "
                "complete table, or ask for fewer"
            )
        return self._order[position]

    def trials(self, metric: Metric, keys: Iterable[Key] | Bytes | None = None) -> FloatArray:
        """Accuracies of every trial, as stored; one column for a table of means.

        Args:
            metric: From ``metric`` or ``metrics``.
            keys: As for ``rows``; every row of the table if left out.

        Returns:
            shape (cells, trials); NaN where an architecture has fewer trials

        Raises:
            DataError: If the metric is from another table, or a key is missing.
        """
        if self.metrics.get(metric.column) != metric:
            raise DataError(f"{self.name} does not have {metric.describe()}")
        values = self._trials[metric.column]
        return values.copy() if keys is None else values[self.rows(keys)]

    def accuracies(self, metric: Metric, keys: Iterable[Key] | Bytes | None = None) -> FloatArray:
        """Mean over trials, in the metric's unit, shape (cells,); arguments as for ``trials``.

        Raises:
            DataError: As for ``trials``, or if an architecture has no trial.
        """
        values = self.trials(metric, keys)
        present = ~np.isnan(values)
        counts = present.sum(axis=1)
        if not counts.all():
            raise DataError(
                f"{self.name} has no {metric.describe()} of {int((counts == 0).sum())} of "
                f"{len(counts)} architectures; leave those out or use another metric"
            )
        total = np.where(present, values, 0.0).sum(axis=1)
        return np.asarray(total / counts, dtype=np.float64)

    def errors_percent(
        self, metric: Metric, keys: Iterable[Key] | Bytes | None = None
    ) -> FloatArray:
        """Mean error in percent, shape (cells,); arguments and errors as for ``accuracies``."""
        return metric.error_percent(self.accuracies(metric, keys))

    def accuracy(self, metric: Metric, key: Key) -> float:
        """Mean accuracy of one architecture, in the metric's unit."""
        return float(self.accuracies(metric, [key])[0])

    def error_percent(self, metric: Metric, key: Key) -> float:
        """Mean error of one architecture in percent."""
        return float(self.errors_percent(metric, [key])[0])

    def distinct_rows(self) -> IntArray:
        """The first row of every key, shape (architectures,); not in the table's order."""
        is_first = np.ones(len(self), dtype=np.bool_)
        is_first[1:] = self._sorted[1:] != self._sorted[:-1]
        return self._order[is_first]

    def has_trials(self, metric: Metric) -> bool:
        """Whether a column has every trial, not just the mean."""
        return bool(pa.types.is_list(self._table[metric.column].type))

    @property
    def other_columns(self) -> tuple[str, ...]:
        """Names of the columns that are neither the key nor known accuracies."""
        known = {self.key, *self.metrics}
        return tuple(name for name in self._table.column_names if name not in known)

    def describe_row(self, row: int) -> str:
        """A row's architecture: its NAS-Bench-201 or NAS-Bench-1Shot1 string, else its hash."""
        if self.key == "hash" and {"parents", "ops"} <= set(self._table.column_names):
            return "|".join(self._table[name][row].as_py() for name in ("parents", "ops"))
        key = self._table[self.key][row].as_py()
        return key.hex() if isinstance(key, bytes) else str(key)

    def take(self, metric: Metric, rows: IntArray) -> pa.ChunkedArray:
        """Some rows of a column of accuracies, as stored."""
        return self._table[metric.column].take(pa.array(rows))

    def column(self, name: str) -> npt.NDArray[Any]:
        """Any column as an array, in the table's row order.

        Raises:
            DataError: If the table has no column of that name.
        """
        if name not in self._table.column_names:
            raise DataError(
                f"{self.name} has no column {name!r}; it has {', '.join(self._table.column_names)}"
            )
        return np.asarray(self._table[name].to_numpy())

    def _wanted(self, keys: Iterable[Key] | Bytes) -> npt.NDArray[np.bytes_]:
        if not isinstance(keys, np.ndarray):
            return np.array([self._encode(key) for key in keys], dtype=np.bytes_)
        if self.key != "hash" or keys.dtype != np.uint8 or keys.shape[1:] != (_HASH_BYTES,):
            raise DataError(
                f"an array of {keys.dtype} of shape {keys.shape} is not a key of {self.name}, "
                f"keyed by {self.key}; give uint8 of shape (cells, {_HASH_BYTES}) or a list"
            )
        return np.ascontiguousarray(keys).view(f"S{_HASH_BYTES}").reshape(-1)

    def _encode(self, key: Key) -> bytes:
        digest = key if isinstance(key, str | bytes) else key.key
        if self.key == "genotype" and isinstance(key, str):
            digest = _genotype_key(key, self.name)
        if self.key != "hash":
            if isinstance(digest, str):
                return digest.encode()
            raise DataError(f"{self.name} is keyed by architecture strings; it has no {key!r}")
        try:
            if isinstance(digest, str) and "|" in digest and not digest.startswith("|"):
                digest = NB1Shot1Architecture.from_string(digest).key
            if isinstance(digest, str):
                digest = bytes.fromhex(digest)
        except InvalidGenotypeError as error:
            raise DataError(f"{self.name} has no {key!r}: {error}") from error
        except ValueError:
            digest = b""
        if isinstance(digest, bytes) and len(digest) == _HASH_BYTES:
            return digest
        raise DataError(
            f"{self.name} is keyed by NAS-Bench-101 hash (32 hexadecimal characters or "
            f"{_HASH_BYTES} bytes) or NAS-Bench-1Shot1 string; it has no {key!r}"
        )

    def _show(self, key: bytes) -> str:
        return key.ljust(_HASH_BYTES, b"\0").hex() if self.key == "hash" else key.decode()

    def _check_repeated(self) -> None:
        same = self._sorted[1:] == self._sorted[:-1]
        first, second = self._order[:-1][same], self._order[1:][same]
        for column, values in self._trials.items():
            if not np.array_equal(values[first], values[second], equal_nan=True):
                raise DataError(
                    f"{self.name} has several rows for one {self.key}, with different values of "
                    f"{column}; keep one row for each"
                )


def _check_names(table: pa.Table, name: str) -> None:
    try:
        names = table.column_names
    except UnicodeDecodeError:
        raise DataError(f"{name} has a column whose name is not UTF-8; rename it") from None
    if doubled := sorted({column for column in names if names.count(column) > 1}):
        raise DataError(f"{name} has more than one column {doubled[0]!r}; keep one")


def _key_array(column: pa.ChunkedArray, key: str, name: str) -> npt.NDArray[np.bytes_]:
    values = column.to_pylist()
    if key == "hash":
        if not all(isinstance(value, bytes) and len(value) == _HASH_BYTES for value in values):
            raise DataError(f"column 'hash' of {name} must have {_HASH_BYTES} bytes in every row")
        return np.frombuffer(b"".join(values), dtype=f"S{_HASH_BYTES}")
    if not all(isinstance(value, str) and value for value in values):
        raise DataError(f"column {key!r} of {name} must have a string in every row")
    if key == "genotype":
        values = [_genotype_key(value, name) for value in values]
    keys = [value.encode() for value in values]
    if (longest := max(map(len, keys), default=0)) > _MAX_KEY_BYTES:
        raise DataError(
            f"column {key!r} of {name} has a string of {longest} bytes; an architecture has at "
            f"most {_MAX_KEY_BYTES}"
        )
    return np.array(keys, dtype=np.bytes_)


def _genotype_key(text: str, name: str) -> str:
    try:
        return Genotype.parse(text).key
    except InvalidGenotypeError as error:
        raise DataError(f"{name} has no genotype {text[:60]!r}: {error}") from None


def _check_unit(metric: Metric, values: FloatArray, name: str) -> None:
    present = values[~np.isnan(values)]
    if not len(present):
        return
    limit = 1.0 if metric.unit == "fraction" else 100.0
    worst = present[np.argmax(np.abs(present - limit / 2))]
    if not 0 <= worst <= limit * (1 + 1e-9):
        raise DataError(
            f"column {metric.column!r} of {name} has the accuracy {worst:g}; in {metric.unit} it "
            f"must be 0 to {limit:g}"
        )
    if metric.unit != "fraction" and present.max() <= 1:
        raise DataError(
            f"column {metric.column!r} of {name} must be in percent, and no value is above 1 "
            f"(the largest is {present.max():g}); multiply fractions by 100"
        )


def _trial_matrix(column: pa.ChunkedArray, name: str) -> FloatArray:
    """Accuracies with a column per trial; NaN where an architecture has fewer."""
    is_list = pa.types.is_list(column.type)
    if not pa.types.is_floating(column.type.value_type if is_list else column.type):
        raise DataError(
            f"{name} has accuracies of type {column.type}; they must be floats, or lists of them"
        )
    if not is_list:
        return np.asarray(column.to_numpy(), dtype=np.float64).reshape(-1, 1)
    flat = column.combine_chunks()
    lengths = np.asarray(flat.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))
    most = int(lengths.max(initial=0))
    if most > _MAX_TRIALS:
        raise DataError(
            f"{name} has a list of {most} accuracies; there may be at most {_MAX_TRIALS} trials"
        )
    matrix = np.full((len(flat), most), np.nan)
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = flat.flatten().to_numpy(
        zero_copy_only=False
    )
    return matrix
