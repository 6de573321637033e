"""Validation accuracies of finalists from a table, in place of trainings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nasi_ray.errors import DataError, UnknownNameError
from nasi_ray.spaces.base import TabularArchitecture
from nasi_ray.tables.accuracies import Accuracies, open_table
from nasi_ray.tables.metric import SPLIT_NAMES, Metric

_USUAL_DATASET = "cifar10"


def open_validation(space: str, table: str, column: str = "") -> Accuracies:
    """Open a space's table at a column of validation accuracies.

    Args:
        space: A space that can be enumerated.
        table: A Parquet file, or a directory that holds the space's table.
        column: Its name; empty: CIFAR-10's (or the only data set's) after the shortest schedule.

    Raises:
        UnknownNameError: If the space or column is not known.
        DataError: If the table cannot be read, has no validation accuracy, or the column is of
            another split.
    """
    found, benchmark = open_table(space, table)
    metrics = benchmark.metrics
    if not column:
        metric = _shortest(metrics.values(), benchmark.name)
    elif column not in metrics:
        raise UnknownNameError(f"metric of {benchmark.name}", column, list(metrics))
    elif (metric := metrics[column]).split != "valid":
        raise DataError(
            f"finalists_metric is {column!r}, a {SPLIT_NAMES[metric.split]} accuracy; a cell that "
            "was chosen by it would be judged by the images it was chosen on: choose a validation "
            f"accuracy ({_named(metrics.values())})"
        )
    return Accuracies(space=found, benchmark=benchmark, metric=metric)


def _shortest(metrics: Iterable[Metric], name: str) -> Metric:
    found = [metric for metric in metrics if metric.split == "valid"]
    datasets = {metric.dataset for metric in found}
    if not found:
        raise DataError(
            f"{name} has no validation accuracy ({', '.join(m.column for m in metrics)}), and test "
            "accuracies must not choose a cell; leave out --finalists-table to train the finalists"
        )
    if len(datasets) > 1 and _USUAL_DATASET not in datasets:
        raise DataError(
            f"{name} has validation accuracies on {', '.join(sorted(datasets))}; choose one with "
            f"--finalists-metric ({_named(found)})"
        )
    if len(datasets) > 1:
        found = [metric for metric in found if metric.dataset == _USUAL_DATASET]
    return min(found, key=lambda metric: metric.epochs or 0)


def _named(metrics: Iterable[Metric]) -> str:
    names = [metric.column for metric in metrics if metric.split == "valid"]
    return ", ".join(names) or "this table has none"


def look_up(accuracies: Accuracies, cells: Sequence[TabularArchitecture]) -> list[float]:
    """Validation accuracies in percent.

    Raises:
        DataError: If a cell is not in the table, or was not trained.
    """
    values = accuracies.benchmark.accuracies(accuracies.metric, cells)
    return [float(v) for v in accuracies.metric.to_percent(values)]
