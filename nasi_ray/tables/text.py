"""What a table of accuracies has, in text: every number with its split and schedule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nasi_ray.display.formats import plural
from nasi_ray.tables.metric import SPLIT_NAMES, Metric
from nasi_ray.tables.tabular import TabularBenchmark

_HEADINGS = (
    "column",
    "data set",
    "split",
    "epochs",
    "trials",
    "no trial",
    "stored as",
    "trained on",
)
_SAID_ONCE = ("data set", "stored as", "trained on")


def table_lines(benchmark: TabularBenchmark) -> list[str]:
    """Describe a table: its rows, its accuracies and the best of each.

    The best is the largest mean over trials, of all architectures that have one.
    """
    metrics = list(benchmark.metrics.values())
    kind = "NAS-Bench-101 hash" if benchmark.key == "hash" else "NAS-Bench-201 string"
    lines = [
        f"{benchmark.name}: {plural_large(len(benchmark), 'row')}, "
        f"{plural_large(len(benchmark.distinct_rows()), 'architecture')} by {kind}"
    ]
    if others := benchmark.other_columns:
        lines.append(f"other columns: {', '.join(others)}")
    if not metrics:
        return [*lines, "accuracies: none whose split and schedule are known"]
    splits = dict.fromkeys(SPLIT_NAMES[metric.split] for metric in metrics)
    schedules = ", ".join(map(str, sorted({metric.epochs for metric in metrics})))
    lines += [f"splits: {', '.join(splits)}", f"schedules: {schedules} epochs", ""]
    found = [_Accuracies(benchmark, metric) for metric in metrics]
    shared, table = _without_shared([_HEADINGS, *(each.cells() for each in found)])
    lines = [*lines[:-1], *shared, "", *_aligned(table), "", "best mean accuracy"]
    return lines + [each.best() for each in found]


def plural_large(count: int, noun: str) -> str:
    """``423,624 rows``."""
    return plural(count, noun).replace(str(count), f"{count:,}", 1)


class _Accuracies:
    """One column, of every architecture once."""

    def __init__(self, benchmark: TabularBenchmark, metric: Metric) -> None:
        self._benchmark, self._metric = benchmark, metric
        self._rows = np.sort(benchmark.distinct_rows())
        trials = benchmark.trials(metric)[self._rows]
        present = ~np.isnan(trials)
        self._counts = present.sum(axis=1)
        total = np.where(present, trials, 0.0).sum(axis=1)
        self._means = np.where(self._counts > 0, total / np.maximum(self._counts, 1), np.nan)

    def cells(self) -> tuple[str, ...]:
        """The row of the table, under ``_HEADINGS``."""
        return (
            self._metric.column,
            self._metric.dataset,
            SPLIT_NAMES[self._metric.split],
            str(self._metric.epochs),
            self._trials(),
            f"{int((self._counts == 0).sum()):,}",
            self._metric.unit,
            self._metric.trained_on,
        )

    def _trials(self) -> str:
        if not self._benchmark.has_trials(self._metric):
            stated = self._metric.num_trials
            return f"mean of {'a number not stated' if stated is None else stated}"
        present = self._counts[self._counts > 0]
        if not present.size:
            return "0"
        low, high = int(present.min()), int(present.max())
        return f"{int(present.sum()):,} ({low if low == high else f'{low} to {high}'} each)"

    def best(self) -> str:
        """The largest mean, where it is, and what it is."""
        metric = self._metric
        what = f"  {metric.dataset} {SPLIT_NAMES[metric.split]}, {metric.epochs} epochs: "
        if not self._counts.any():
            return f"{what}none"
        best = int(np.nanargmax(self._means))
        accuracy = float(metric.to_percent(self._means[[best]])[0])
        return f"{what}{accuracy:.3f} %, {self._benchmark.describe_row(int(self._rows[best]))}"


def _without_shared(
    table: Sequence[tuple[str, ...]],
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Take out the wide columns that say the same in every row: a line each says it once."""
    columns = list(zip(*table, strict=True))
    shared = [c for c in columns if c[0] in _SAID_ONCE and len(set(c[1:])) == 1]
    kept = [column for column in columns if column not in shared]
    return [f"{name}: {value}" for name, value, *_ in shared], list(zip(*kept, strict=True))


def _aligned(table: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in table
    ]
