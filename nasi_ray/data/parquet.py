"""Parquet data sets in the Hugging Face layout: encoded images and integer labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nasi_ray.data.decode import allocate, decode
from nasi_ray.data.image_set import MAX_CLASSES, ImageSet, make_image_set
from nasi_ray.errors import DataError

_IMAGE_COLUMNS = ("img", "image")
_LABEL_COLUMNS = ("label", "fine_label", "labels")
_ROWS_PER_READ = 256


@dataclass(frozen=True, slots=True)
class _Columns:
    image: str
    label: str
    num_classes: int | None
    """From the schema metadata; None if it does not say."""


def read_parquet(
    files: Sequence[Path], *, image_size: int, source: str, read: Sequence[str] = ()
) -> ImageSet:
    """Read and decode the files, rows in order.

    Args:
        files: At least one; all with the same image and label columns.
        image_size: Height and width S in pixels.
        source: What the user named.
        read: For the summary, as for ``make_image_set``.

    Raises:
        DataError: If a file is not a Parquet file, lacks the columns, or holds an image that does
            not decode or a label that is null, negative or not one of the classes.
    """
    opened = [(path, _open(path)) for path in files]
    columns = _common_columns(opened)
    num_rows = sum(file.metadata.num_rows for _, file in opened)
    images = allocate(num_rows, image_size, source)
    labels = np.empty(num_rows, dtype=np.int64)
    position = 0
    for path, file in opened:
        for row, data, name, label in _rows(path, file, columns):
            where = f"{path}: row {row}" + (f" ({name})" if name else "")
            labels[position] = _checked_label(label, columns, where)
            if data is None:
                raise DataError(f"{where}: no image bytes; every row must hold its image")
            images[position] = decode(data, image_size, where)
            position += 1
    num_classes = columns.num_classes or int(labels.max(initial=-1)) + 1
    return make_image_set(images, labels, num_classes=num_classes, source=source, read=read)


def _open(path: Path) -> Any:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = str(error).partition("\n")[0].rstrip(".")
    return DataError(
        f"{path}: not a readable Parquet file ({reason}); give a Parquet file, a directory of "
        "them, or an image folder"
    )


def _common_columns(opened: Sequence[tuple[Path, Any]]) -> _Columns:
    first_path, first_file = opened[0]
    columns = _columns(first_path, first_file.schema_arrow)
    for path, file in opened[1:]:
        if _columns(path, file.schema_arrow) != columns:
            raise DataError(
                f"{path}: other columns or classes than {first_path}; give files of one data set"
            )
    return columns


def _columns(path: Path, schema: Any) -> _Columns:
    image = _pick(path, schema, _IMAGE_COLUMNS, "an image", "binary or struct{bytes, path}")
    label = _pick(path, schema, _LABEL_COLUMNS, "a label", "integers")
    return _Columns(image, label, _named_classes(path, schema, label))


def _pick(path: Path, schema: Any, allowed: Sequence[str], what: str, types: str) -> str:
    name = next((name for name in allowed if name in schema.names), None)
    if name is None:
        raise DataError(
            f"{path}: lacks {what} column; it has {', '.join(schema.names)}, and one of "
            f"{', '.join(allowed)} is needed"
        )
    kind = schema.field(name).type
    fits = pa.types.is_integer(kind) if allowed is _LABEL_COLUMNS else _holds_bytes(kind)
    if not fits:
        raise DataError(f"{path}: column {name} is of type {kind}; it must be {types}")
    return name


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_bytes(kind.field(index).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _named_classes(path: Path, schema: Any, label: str) -> int | None:
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return None
    try:
        names = json.loads(text)["info"]["features"][label].get("names")
        return len(names) if names else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path}: schema metadata 'huggingface' does not describe column {label}; "
            "write the file again, or without that metadata"
        ) from error


def _rows(
    path: Path, file: Any, columns: _Columns
) -> Iterator[tuple[int, bytes | None, str, int | None]]:
    """Row number, image bytes, image name and label of every row."""
    row = 0
    try:
        for batch in file.iter_batches(_ROWS_PER_READ, columns=[columns.image, columns.label]):
            images = batch.column(columns.image).to_pylist()
            for image, label in zip(images, batch.column(columns.label).to_pylist(), strict=True):
                if isinstance(image, dict):
                    yield row, image["bytes"], image.get("path") or "", label
                else:
                    yield row, image, "", label
                row += 1
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _checked_label(label: int | None, columns: _Columns, where: str) -> int:
    if label is None or label < 0:
        given = "null" if label is None else label
        raise DataError(
            f"{where}: label is {given}; labels count from 0 (a split without labels cannot be "
            "used, take another)"
        )
    if label >= MAX_CLASSES:
        raise DataError(
            f"{where}: label is {label}; labels count from 0 to at most {MAX_CLASSES - 1}: number "
            "the classes from 0"
        )
    if columns.num_classes is not None and label >= columns.num_classes:
        raise DataError(
            f"{where}: label is {label} and the metadata names {columns.num_classes} classes; "
            "correct one of them"
        )
    return label
