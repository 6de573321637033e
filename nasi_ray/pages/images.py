"""What a search has seen: thumbnails and class counts of its data."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from nasi_ray.data.lazy import LazyImages
from nasi_ray.data.open import open_images
from nasi_ray.data.options import ReadOptions
from nasi_ray.errors import DataError
from nasi_ray.files import user_path
from nasi_ray.pages.blocks import Block, Figure, Note, Thumbnails
from nasi_ray.pages.specs import bars, names, quantity

_MAX_CLASSES, _MAX_NAME, _SIZE = 20, 40, 56


def data_blocks(
    settings: Mapping[str, Any], source: str | None, moved_to: str | None
) -> list[Block]:
    """Describe the images of a run.

    Args:
        settings: Of ``settings.yaml``.
        source: Where ``config.json`` says that the images were.
        moved_to: Where the user says that they are now.
    """
    named = str(moved_to or source or settings.get("data") or "random")
    if named == "random":
        return [Note(text="Images and labels are random numbers, so there is nothing to show.")]
    if moved_to is None and not user_path(named).exists():
        # A name could start a download, and S3 a long listing: only where the user asks for it.
        return [Note(text=f"The images of {named} are not on this machine; --data says where.")]
    names_of = ("split", "image_column", "label_column", "skip_broken")
    options = ReadOptions(**{n: settings[n] for n in names_of if settings.get(n)})
    return _described(open_images(named, options), named)


def _described(images: LazyImages, named: str) -> list[Block]:
    counts = np.bincount(images.labels, minlength=images.num_classes)
    labels = [_name(images, i) for i in range(images.num_classes)]
    shown = range(min(images.num_classes, _MAX_CLASSES))
    more = images.num_classes - len(shown)
    note = f"{len(images):,} images of {images.num_classes} classes in {named}, as they are now."
    rows = [{"name": f"{i}: {labels[i]}" if labels[i] else str(i), "count": int(counts[i]),
             "tip": f"{labels[i] or i}: {counts[i]:,}"} for i in shown]  # fmt: skip
    pictures = [_thumbnail(images, i, str(rows[i]["name"])) for i in shown if counts[i]]
    return [
        Note(text=note + (f" The first {len(shown)} classes are shown." if more else "")),
        Thumbnails(images=[picture for picture in pictures if picture]),
        Figure(
            name="classes",
            title="Images per class",
            spec=bars(rows, quantity("count", "images"), names("name")),
            headings=("class", "images"),
            rows=[(row["name"], f"{row['count']:,}") for row in rows],
        ),
    ]


def _name(images: LazyImages, label: int) -> str:
    name = images.class_names[label] if images.class_names else ""
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 3]}..."


def _thumbnail(images: LazyImages, label: int, caption: str) -> tuple[str, str] | None:
    try:
        image = images.image(int(np.flatnonzero(images.labels == label)[0]))
    except DataError:
        return None
    image.thumbnail((_SIZE * 2, _SIZE * 2))
    data = io.BytesIO()
    image.save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}", caption
