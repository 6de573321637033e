"""Make a Parquet table from NAS-Bench-101's official files, without TensorFlow.

The files are ``nasbench_only108.tfrecord`` and ``nasbench_full.tfrecord``. Every trial of every
schedule is kept.
"""

from __future__ import annotations

import base64
import json
import os
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nasi_ray.arrays import IntArray
from nasi_ray.errors import DataError, InvalidGenotypeError
from nasi_ray.files import open_regular
from nasi_ray.spaces.graph import Matrix, hash_cell
from nasi_ray.tables.metric import Metric, nb101_metric
from nasi_ray.tables.model_metrics import ModelMetrics, decode_model_metrics
from nasi_ray.tables.table_file import check_source, make_table, replacing
from nasi_ray.tables.tfrecord import Record, read_records

Progress = Callable[[int, int], None]
"""Called with the number done and the total (bytes, or architectures)."""

_PROGRESS_EVERY = 1_000
_MAX_EPOCHS = 100_000


@dataclass(frozen=True, slots=True)
class Trial:
    """One training run of NAS-Bench-101."""

    hash: bytes
    epochs: int
    adjacency: str
    """The matrix, row by row, as zeros and ones."""
    ops: str
    """One name per vertex, separated by commas."""
    metrics: ModelMetrics


def convert_nasbench101(
    source: str | Path, target: str | Path, *, on_progress: Progress | None = None
) -> int:
    """Convert a NAS-Bench-101 file.

    Memory grows with the number of architectures and trials (40 bytes a trial), not with the file.
    The table has ``hash``, ``matrix``, ``ops``, ``params`` and, per schedule, the lists
    ``valid_accuracy_<epochs>ep``, ``test_accuracy_<epochs>ep`` (fractions at the end of training)
    and ``training_time_<epochs>ep`` (seconds), one entry a trial, in the file's order.

    Args:
        source: A TFRecord file.
        target: Parquet file to write; replaced only when the conversion has succeeded.
        on_progress: Called now and then with bytes read and total bytes.

    Returns:
        Number of architectures.

    Raises:
        DataError: If the file is missing, or a record is cut off, corrupt or not in the format
            (names the record and its byte offset), or the target cannot be written.
    """
    path = check_source(source, target)
    with replacing(target) as write:
        trials = _read(path, on_progress)
        write(trials.to_table())
    return len(trials.rows)


def _read(source: Path, on_progress: Progress | None) -> _Trials:
    trials = _Trials()
    try:
        total = os.path.getsize(source)
        with open_regular(source) as file:
            for record in read_records(file):
                trials.add(record)
                if on_progress and record.number % _PROGRESS_EVERY == 0:
                    on_progress(record.offset, total)
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror}") from error
    except DataError as error:
        raise DataError(f"{source}: {error}") from error
    if not trials.rows:
        raise DataError(f"{source} has no records; give a NAS-Bench-101 TFRecord file")
    if on_progress:
        on_progress(total, total)
    return trials


class _Trials:
    """Trials in order of arrival, in compact columns."""

    def __init__(self) -> None:
        self.rows: dict[bytes, int] = {}
        self._cells: list[tuple[str, str, int]] = []
        self._row, self._epochs = array("q"), array("q")
        self._numbers = {name: array("d") for name in ("valid", "test", "time")}

    def add(self, record: Record) -> None:
        try:
            trial = parse_trial(record.data)
            row = self.rows.get(trial.hash)
            if row is None:
                _check_hash(trial)
                row = self.rows[trial.hash] = len(self.rows)
                self._cells.append((trial.adjacency, trial.ops, trial.metrics.trainable_parameters))
        except (ValueError, InvalidGenotypeError) as error:
            raise record.error(f"is not a NAS-Bench-101 trial: {error}") from error
        final = trial.metrics.evaluations[-1]
        self._row.append(row)
        self._epochs.append(trial.epochs)
        self._numbers["valid"].append(final.validation_accuracy)
        self._numbers["test"].append(final.test_accuracy)
        self._numbers["time"].append(final.training_time)

    def to_table(self) -> pa.Table:
        matrices, ops, params = zip(*self._cells, strict=True)
        columns: dict[str, tuple[pa.Array, Metric | None]] = {
            "hash": (pa.array(list(self.rows), pa.binary(16)), None),
            "matrix": (pa.array(matrices, pa.string()), None),
            "ops": (pa.array(ops, pa.string()), None),
            "params": (pa.array(params, pa.int32()), None),
        }
        row, epochs = (np.array(a, dtype=np.int64) for a in (self._row, self._epochs))
        for schedule in np.unique(epochs).tolist():
            picked = np.flatnonzero(epochs == schedule)
            picked = picked[np.argsort(row[picked], kind="stable")]
            counts = np.bincount(row[picked], minlength=len(self.rows))
            num_trials = int(counts[0]) if (counts == counts[0]).all() else None
            for name in ("valid", "test"):
                metric = nb101_metric(name, schedule, num_trials=num_trials)
                columns[metric.column] = (_lists(self._numbers[name], picked, counts), metric)
            times = _lists(self._numbers["time"], picked, counts)
            columns[f"training_time_{schedule}ep"] = (times, None)
        return make_table(columns)


def parse_trial(data: bytes) -> Trial:
    """Parse the content of one record.

    Raises:
        ValueError: If it is not a JSON list of module hash, epochs, adjacency, operations and
            metrics, or a number in it is impossible.
    """
    fields = json.loads(data)
    if not isinstance(fields, list) or list(map(type, fields)) != [str, int, str, str, str]:
        raise ValueError("it must be [hash, epochs, adjacency, operations, metrics]")
    digest, epochs, adjacency, ops, metrics = fields
    if len(digest) != 32:
        raise ValueError(f"hash {digest!r} does not have 32 characters")
    if not 1 <= epochs <= _MAX_EPOCHS:
        raise ValueError(f"epochs are {epochs}; allowed: 1 to {_MAX_EPOCHS}")
    decoded = decode_model_metrics(base64.b64decode(metrics, validate=True))
    final = decoded.evaluations[-1]
    if abs(final.current_epoch - epochs) > 0.5:
        raise ValueError(f"its metrics end at epoch {final.current_epoch} of {epochs}")
    for accuracy in (final.validation_accuracy, final.test_accuracy):
        if not 0.0 <= accuracy <= 1.0:
            raise ValueError(f"an accuracy is {accuracy}; it must be 0 to 1")
    return Trial(bytes.fromhex(digest), epochs, adjacency, ops, decoded)


def _check_hash(trial: Trial) -> None:
    ops = tuple(trial.ops.split(","))
    if len(trial.adjacency) != len(ops) ** 2 or set(trial.adjacency) - {"0", "1"}:
        raise ValueError(f"adjacency {trial.adjacency!r} is not a matrix of {len(ops)} vertices")
    bits = np.array(list(trial.adjacency), dtype=np.int8)
    matrix: Matrix = bits.reshape(len(ops), len(ops))
    own = hash_cell(matrix, ops)
    if own != trial.hash.hex():
        raise ValueError(f"its hash is {trial.hash.hex()}, but its cell's is {own}")


def _lists(numbers: array[float], picked: IntArray, counts: npt.NDArray[np.intp]) -> pa.Array:
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    values = np.array(numbers, dtype=np.float64)[picked]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
