"""The part of a page about a list of trainings."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nasi_ray.display.formats import plural
from nasi_ray.errors import RecordCorruptError
from nasi_ray.pages import specs
from nasi_ray.pages.blocks import Block, Figure, Part, Table
from nasi_ray.pages.files import section
from nasi_ray.pages.made import made_blocks
from nasi_ray.pages.samples import bins_of
from nasi_ray.spaces import Genotype
from nasi_ray.storage import Storage
from nasi_ray.training.settings import ACCURACIES

_MOST_SHOWN = 50
_Row = dict[str, Any]


def trainings_part(storage: Storage) -> Part:
    """Describe a list of trainings.

    Args:
        storage: Its run directory.

    Raises:
        RecordCorruptError: If the table of accuracies cannot be read.
        StorageError: If the storage fails.
    """
    rows, column = _read(storage)
    return Part(
        title="Trainings of " + plural(len(rows), "cell"),
        verdict=_verdict(rows),
        sections=[
            section("Accuracies", lambda: _accuracies(rows, column)),
            section("Cells", lambda: _cells(rows)),
            section("How it was made", lambda: made_blocks(storage, "train", {})),
        ],
    )


def _read(storage: Storage) -> tuple[list[_Row], str]:
    """A row per cell, the best mean first; and the name of the column of accuracies."""
    try:
        table = pq.read_table(io.BytesIO(storage.read(ACCURACIES)))
        (column,) = [name for name in table.column_names if "_test_accuracy_" in name]
        rows = [
            {**row, "values": row[column], "mean": float(np.mean(row[column]))}
            for row in table.to_pylist()
            if row[column] and {"genotype", "seeds", "parameters", "recipe"} <= row.keys()
        ]
    except (pa.ArrowException, ValueError, TypeError):
        rows, column = [], ""
    if not rows:
        raise RecordCorruptError(
            f"{storage.uri}/{ACCURACIES} cannot be read (incomplete or changed); run the command "
            "that wrote it again"
        )
    return sorted(rows, key=lambda row: -row["mean"]), column


def _verdict(rows: Sequence[_Row]) -> str:
    means = [row["mean"] for row in rows]
    num_trainings = sum(len(row["values"]) for row in rows)
    return (
        f"{plural(num_trainings, 'training')} of {plural(len(rows), 'cell')} by recipe "
        f"{rows[0]['recipe']}: top-1 from {means[-1]:.2f} to {means[0]:.2f} %, median "
        f"{float(np.median(means)):.2f} %."
    )


def _accuracies(rows: Sequence[_Row], column: str) -> list[Block]:
    bins = bins_of(np.array([row["mean"] for row in rows]))
    several = ", mean over seeds" if any(len(row["values"]) > 1 for row in rows) else ""
    return [
        Figure(
            name="accuracies",
            title="How many cells have which accuracy",
            spec=specs.histogram(bins, [], f"top-1, %{several}", log=False, counted="cells"),
            about=f"Column {column} of {ACCURACIES}.",
            headings=("from, %", "to, %", "cells"),
            rows=[(f"{b['low']:.2f}", f"{b['high']:.2f}", b["count"]) for b in bins if b["count"]],
        )
    ]


def _cells(rows: Sequence[_Row]) -> list[Block]:
    shown = [
        (
            rank,
            f"{row['mean']:.2f}",
            ", ".join(f"{value:.2f}" for value in row["values"]),
            ", ".join(map(str, row["seeds"])),
            f"{row['parameters'] / 1e6:,.3f} M",
            Genotype.parse(row["genotype"]).to_string(),
        )
        for rank, row in enumerate(rows, start=1)
    ]
    headings = ("rank", "top-1, %", "of each seed", "seeds", "parameters", "cell")
    is_long = len(shown) > _MOST_SHOWN
    return [Table(title="All cells, the best first", headings=headings, rows=shown,
                  is_folded=is_long)]  # fmt: skip
