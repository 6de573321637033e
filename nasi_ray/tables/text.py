"""A table of accuracies in text: every number with its split and schedule."""

from __future__ import annotations

import numpy as np

from nasi_ray.arrays import IntArray
from nasi_ray.display.formats import plural, wrapped
from nasi_ray.tables.metric import SPLIT_NAMES, Metric, after
from nasi_ray.tables.tabular import TabularBenchmark

_KINDS = {
    "hash": "NAS-Bench-101 hash",
    "arch": "NAS-Bench-201 string",
    "genotype": "DARTS genotype",
}


def table_lines(benchmark: TabularBenchmark) -> list[str]:
    """Describe a table: its rows, its accuracies and the best of each.

    The best is the largest mean over trials of any architecture.

    Returns:
        Lines of at most 80 columns; longer names and architectures stand alone.
    """
    metrics = list(benchmark.metrics.values())
    kind = _KINDS[benchmark.key]
    lines = [
        benchmark.name,
        f"{plural_large(len(benchmark), 'row')}, "
        f"{plural_large(len(benchmark.distinct_rows()), 'architecture')} by {kind}",
    ]
    if others := benchmark.other_columns:
        lines.append(f"other columns: {', '.join(others)}")
    if not metrics:
        lines.append("accuracies: none whose split and schedule are known")
        return _wrapped(lines)
    splits = dict.fromkeys(SPLIT_NAMES[metric.split] for metric in metrics)
    stated = sorted({metric.epochs for metric in metrics if metric.epochs is not None})
    schedules = f"{', '.join(map(str, stated))} epochs" if stated else "not stated"
    lines += [f"splits: {', '.join(splits)}", f"schedules: {schedules}"]
    shared = _shared(metrics)
    lines = _wrapped([*lines, *(f"{name}: {value}" for name, value in shared.items())])
    for metric in metrics:
        facts = _facts(benchmark, metric, shared)
        lines += ["", *wrapped(metric.column), *_wrapped(facts, indent="  ")]
    return lines


def plural_large(count: int, noun: str) -> str:
    """``423,624 rows``."""
    return plural(count, noun).replace(str(count), f"{count:,}", 1)


def _wrapped(lines: list[str], indent: str = "") -> list[str]:
    return [
        part for line in lines for part in wrapped(line, indent=indent, hanging=indent + "    ")
    ]


def _properties(metric: Metric) -> dict[str, str]:
    return {
        "data set": metric.dataset,
        "stored as": metric.unit,
        "trained on": metric.trained_on,
    }


def _shared(metrics: list[Metric]) -> dict[str, str]:
    """The properties that all columns share; each gets one line."""
    first, *others = map(_properties, metrics)
    return {
        name: value
        for name, value in first.items()
        if all(other[name] == value for other in others)
    }


def _facts(benchmark: TabularBenchmark, metric: Metric, shared: dict[str, str]) -> list[str]:
    """A column's meaning, trials and best mean; every architecture counts once."""
    rows = np.sort(benchmark.distinct_rows())
    trials = benchmark.trials(metric)[rows]
    present = ~np.isnan(trials)
    counts = present.sum(axis=1)
    own = {name: value for name, value in _properties(metric).items() if name not in shared}
    what = f"{SPLIT_NAMES[metric.split]} accuracy {after(metric.epochs)}"
    lines = [
        f"{what}, {_num_trials(benchmark, metric, counts)}",
        *(f"{name}: {value}" for name, value in own.items()),
    ]
    if num_without := int((counts == 0).sum()):
        lines.append(f"without a trial: {plural_large(num_without, 'architecture')}")
    if not counts.any():
        return [*lines, "best mean: none"]
    total = np.where(present, trials, 0.0).sum(axis=1)
    means = np.where(counts > 0, total / np.maximum(counts, 1), np.nan)
    best = int(np.nanargmax(means))
    accuracy = float(metric.to_percent(means[[best]])[0])
    return [*lines, f"best mean: {accuracy:.3f} %, {benchmark.describe_row(int(rows[best]))}"]


def _num_trials(benchmark: TabularBenchmark, metric: Metric, counts: IntArray) -> str:
    if not benchmark.has_trials(metric):
        stated = metric.num_trials
        number = "an unstated number of trials" if stated is None else plural(stated, "trial")
        return f"mean of {number}"
    total = plural_large(int(counts.sum()), "trial")
    if not counts.any():
        return total
    low, high = int(counts[counts > 0].min()), int(counts.max())
    return f"{total} ({low if low == high else f'{low} to {high}'} per architecture)"
