"""The meaning of a number in a table: data set, split, schedule, unit. No look-ups here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from nasi_ray.arrays import FloatArray
from nasi_ray.display.formats import plural
from nasi_ray.errors import DataError

Split = Literal["train", "valid", "test"]
Unit = Literal["fraction", "percent"]

SPLIT_NAMES: dict[Split, str] = {"train": "training", "valid": "validation", "test": "test"}
"""Split -> its name in messages."""

METADATA_KEY = b"nasi_ray.metric"
"""Key of a Parquet column's metadata that holds ``Metric.to_json``."""

_COLUMN = re.compile(r"([a-z][a-z0-9_]*?)_(valid|test)_accuracy_([1-9][0-9]*)ep")
_GENOTYPE_COLUMN = re.compile(
    r"(?:([a-z][a-z0-9_]*?)_)?(val|valid|validation|test)_acc(?:uracy)?(?:_([1-9][0-9]*)ep)?"
)
_NB201_DATASETS = ("cifar10", "cifar100", "imagenet16_120")
_NB201_TRIALS = {"cifar10_test_accuracy_12ep": 1, "cifar10_valid_accuracy_12ep": 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """The meaning of one column of accuracies."""

    column: str
    """Its name in the table."""
    dataset: str
    """``cifar10``, ``cifar100`` or ``imagenet16_120``."""
    split: Split
    """The images it was measured on."""
    epochs: int | None
    """Length of the training schedule; the accuracy is the one at its end. None: not stated."""
    unit: Unit
    """``fraction`` in [0, 1] or ``percent`` in [0, 100], as stored."""
    trained_on: str
    """The images it was trained on; ``not stated`` if the source does not say."""
    num_trials: int | None
    """Trials per architecture; None if it differs or is not known."""

    def describe(self) -> str:
        """One line for people."""
        trials = "trials: not stated" if self.num_trials is None else f"trials: {self.num_trials}"
        return (
            f"{self.column} ({self.dataset} {SPLIT_NAMES[self.split]} accuracy "
            f"{after(self.epochs)}, {self.unit}, {trials}, trained on: {self.trained_on})"
        )

    def to_json(self) -> str:
        """Text for a column's metadata."""
        return json.dumps(asdict(self), sort_keys=True)

    def to_percent(self, values: FloatArray) -> FloatArray:
        """Convert stored accuracies to percent."""
        return values * 100.0 if self.unit == "fraction" else values

    def error_percent(self, values: FloatArray) -> FloatArray:
        """Convert stored accuracies to errors in percent."""
        return 100.0 - self.to_percent(values)


def after(epochs: int | None) -> str:
    """``after 200 epochs``."""
    return f"after {'an unstated number of epochs' if epochs is None else plural(epochs, 'epoch')}"


def column_metric(column: str, metadata: Mapping[bytes, bytes] | None, key: str) -> Metric | None:
    """Find out what a column means.

    Args:
        column: Its name.
        metadata: Its Parquet metadata, in which converted tables store the meaning.
        key: The table's key column: ``hash`` (NAS-Bench-101 cells), ``arch`` (NAS-Bench-201) or
            ``genotype`` (DARTS cells).

    Returns:
        None if the column does not hold accuracies of a known meaning.

    Raises:
        DataError: If its metadata is broken.
    """
    if metadata and METADATA_KEY in metadata:
        return _from_json(column, metadata[METADATA_KEY])
    if key == "hash":
        return _NB101_TEST if column == _NB101_TEST.column else None
    match = (_GENOTYPE_COLUMN if key == "genotype" else _COLUMN).fullmatch(column)
    if match is None:
        return None
    dataset, split, epochs = match.groups()
    if key == "genotype" or dataset not in _NB201_DATASETS:
        return Metric(
            column=column,
            dataset=dataset or "data set not stated",
            split="test" if split == "test" else "valid",
            epochs=None if epochs is None else int(epochs),
            unit="percent",
            trained_on="not stated",
            num_trials=None,
        )
    return nb201_metric(dataset, split, int(epochs), num_trials=_NB201_TRIALS.get(column))


def nb101_metric(split: str, epochs: int, *, num_trials: int | None) -> Metric:
    """Column of a NAS-Bench-101 table of every schedule: ``<split>_accuracy_<epochs>ep``."""
    return Metric(
        column=f"{split}_accuracy_{epochs}ep",
        dataset="cifar10",
        split="valid" if split == "valid" else "test",
        epochs=epochs,
        unit="fraction",
        trained_on="40,000 of the training images",
        num_trials=num_trials,
    )


def nb201_metric(dataset: str, split: str, epochs: int, *, num_trials: int | None) -> Metric:
    """Column of a NAS-Bench-201 table: ``<dataset>_<split>_accuracy_<epochs>ep``."""
    images = "25,000 of the training images" if split == "valid" else "all 50,000 training images"
    return Metric(
        column=f"{dataset}_{split}_accuracy_{epochs}ep",
        dataset=dataset,
        split="valid" if split == "valid" else "test",
        epochs=epochs,
        unit="percent",
        trained_on=images if dataset == "cifar10" else "all training images",
        num_trials=num_trials,
    )


# The column of the tables of mean test accuracies, of 3 trials at the full schedule.
_NB101_TEST = Metric(
    column="test_accuracy",
    dataset="cifar10",
    split="test",
    epochs=108,
    unit="fraction",
    trained_on="40,000 of the training images",
    num_trials=3,
)


def _from_json(column: str, text: bytes) -> Metric:
    try:
        metric = Metric(**json.loads(text))
        _check_types(metric)
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"column {column!r} has broken {METADATA_KEY.decode()} metadata ({error}); "
            "convert the table again"
        ) from error
    if metric.column != column:
        raise DataError(
            f"column {column!r} has the metadata of {metric.column!r}; convert the table again"
        )
    return metric


def _check_types(metric: Metric) -> None:
    for name in ("column", "dataset", "trained_on"):
        if not isinstance(getattr(metric, name), str):
            raise TypeError(f"{name} is not a text")
    if metric.split not in get_args(Split) or metric.unit not in get_args(Unit):
        raise ValueError(f"split {metric.split!r} or unit {metric.unit!r} is not known")
    for name, allowed in (("epochs", (int,)), ("num_trials", (int, type(None)))):
        if type(getattr(metric, name)) not in allowed:
            raise TypeError(f"{name} is not a whole number")
