"""The part of a page about one training."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from nasi_ray.display.formats import format_seconds
from nasi_ray.pages import specs
from nasi_ray.pages.blocks import Block, Figure, Note, Part, Picture, Table
from nasi_ray.pages.files import read_json, read_settings, section
from nasi_ray.pages.images import data_blocks
from nasi_ray.pages.made import made_blocks
from nasi_ray.run.subject import read_subject
from nasi_ray.search.cell_plot import save_architecture_plot
from nasi_ray.storage import Storage
from nasi_ray.training.metrics import best_of, read_metrics
from nasi_ray.training.text import verdict

_CURVES = (
    ("loss", "Loss", "mean cross-entropy", {"train_loss": "train", "test_loss": "test"}),
    ("accuracy", "Accuracy", "percent of the test images", {"top1": "top-1", "top5": "top-5"}),
    ("rate", "Learning rate", "learning rate", {"lr": "learning rate"}),
    ("speed", "Speed", "images per second", {"images_per_second": "images/s"}),
)
"""Name, title and unit of a figure; column -> line."""

_OF_BINARY = {"train_loss": "train, binary cross-entropy", "test_loss": "test, cross-entropy"}
"""The lines of the losses after a training by the loss bce."""


def train_part(
    storage: Storage,
    result: Mapping[str, Any] | None,
    *,
    has_data: bool = True,
    data: str | None = None,
) -> Part:
    """Describe a training.

    Args:
        storage: Its run directory.
        result: The content of ``result.json``; None if it is not done.
        has_data: Whether to show its images, which another part of the page may show already.
        data: Where the images are now, if they have moved.

    Raises:
        NasiRayError: If the metrics cannot be read.
    """
    rows = read_metrics(storage)
    if result is not None:
        first = f"{verdict(result)}."
    else:
        first = f"This training is not done: {len(rows)} epochs so far; nasi-ray train continues."
    return Part(
        title=f"Training of a {(result or {}).get('space', '')} cell".replace("  ", " "),
        verdict=first,
        sections=[
            section("Curves", lambda: _curves(storage, rows)),
            section("The cell", lambda: _cell(storage)),
            section("Facts", lambda: _facts(rows, result or {})),
            *([section("Data", lambda: _data(storage, data))] if has_data else []),
            section("How it was made", lambda: made_blocks(storage, "train", result or {})),
        ],
    )


def _curves(storage: Storage, rows: Sequence[Mapping[str, float]]) -> list[Block]:
    if not rows:
        return [Note(text=f"{storage.uri}/metrics.parquet is gone, so there are no curves.")]
    x = specs.quantity("epoch", "epoch", axis={"tickMinStep": 1})
    curves = list(_CURVES)
    if read_settings(storage).get("loss") == "bce":
        name, title, _, columns = curves[0]
        curves[0] = (name, title, "mean loss", {**columns, **_OF_BINARY})
    return [
        Figure(
            name=name,
            title=title,
            spec=specs.lines(
                [{"epoch": row["epoch"], "value": row[column], "series": line}
                 for column, line in columns.items() for row in rows],
                x, specs.quantity("value", unit),
            ),
            headings=("epoch", *columns.values()),
            rows=[(row["epoch"], *(f"{row[c]:.5g}" for c in columns)) for row in rows],
        )
        for name, title, unit, columns in curves
    ]  # fmt: skip


def _cell(storage: Storage) -> list[Block]:
    _, architecture = read_subject(storage.uri, "darts", None)
    drawn = save_architecture_plot(architecture)
    if drawn is None:
        return [Note(text=architecture.to_string())]
    address = f"data:image/svg+xml;base64,{base64.b64encode(drawn['svg']).decode()}"
    return [Picture(title="The cell as a graph", data=address, alt=architecture.to_string())]


def _data(storage: Storage, data: str | None) -> list[Block]:
    sources = (read_json(storage, "config.json") or {}).get("sources")
    return data_blocks(read_settings(storage), sources[0]["source"] if sources else None, data)


def _facts(rows: Sequence[Mapping[str, float]], result: Mapping[str, Any]) -> list[Block]:
    shown = [(k, v) for k, v in result.items() if isinstance(v, str | int | float | bool)]
    if rows:
        best = best_of(rows)
        wait = sum(row["wait_share"] * row["seconds"] for row in rows) / sum(
            row["seconds"] for row in rows
        )
        shown += [
            ("best epoch", f"{best['epoch']:.0f}, top-1 {best['top1']:.2f} %"),
            ("time of all epochs", format_seconds(sum(row["seconds"] for row in rows))),
            ("share of waiting for data", f"{100 * wait:.1f} %"),
        ]
    return [Table(title="Training", headings=("fact", "value"), rows=shown, is_folded=False)]
