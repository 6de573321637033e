"""Which columns of a Parquet data set hold images and labels, and the names of its classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from nasi_ray.data.options import ReadOptions
from nasi_ray.data.s3_path import DataPath
from nasi_ray.errors import DataError

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label", "labels")
_MAX_NAMED = 20


@dataclass(frozen=True, slots=True)
class Columns:
    """The two columns of a data set."""

    image: str
    label: str
    has_text_labels: bool
    """Whether labels are text, and not numbers."""
    class_names: list[str] | None
    """From the schema metadata; None if it does not say."""


def find_columns(path: DataPath, schema: Any, options: ReadOptions) -> Columns:
    """Find the columns of a file.

    Args:
        path: For messages.
        schema: The file's Arrow schema.
        options: May name the columns.

    Raises:
        DataError: If there are none, or they are of another type.
        UnicodeDecodeError: If the name of a column is not UTF-8.
    """
    images = [options.image_column] if options.image_column else IMAGE_COLUMNS
    image, kind = _pick(path, schema, images, "an image", "--image-column")
    if not _holds_bytes(kind):
        raise DataError(
            f"{path}: column {image} is of type {_shown(kind)}; it must be binary or "
            "struct{bytes, path}, or name another column with --image-column"
        )
    labels = [options.label_column] if options.label_column else LABEL_COLUMNS
    label, kind = _pick(path, schema, labels, "a label", "--label-column")
    is_text = _holds_text(kind)
    if not is_text and not pa.types.is_integer(kind):
        raise DataError(
            f"{path}: column {label} is of type {_shown(kind)}; it must be integers or text, or "
            "name another column with --label-column"
        )
    return Columns(image, label, is_text, None if is_text else _class_names(path, schema, label))


def _pick(
    path: DataPath, schema: Any, wanted: Sequence[str], what: str, option: str
) -> tuple[str, Any]:
    """The first of the wanted columns, and its type."""
    names = schema.names
    name = next((name for name in wanted if name in names), None)
    if name is None:
        more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
        raise DataError(
            f"{path}: lacks {what} column {' or '.join(wanted)}; it has "
            f"{', '.join(names[:_MAX_NAMED])}{more}: name one of them with {option}"
        )
    if names.count(name) > 1:
        raise DataError(f"{path}: has more than one column {name}; keep one")
    return name, schema.field(name).type


def _shown(kind: Any) -> str:
    text = str(kind)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_bytes(kind.field(index).type)
    return _is_bytes(kind)


def _is_bytes(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_text(kind: Any) -> bool:
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(values) or pa.types.is_large_string(values))


def _class_names(path: DataPath, schema: Any, label: str) -> list[str] | None:
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return None
    try:
        names = json.loads(text)["info"]["features"][label].get("names")
        if names and not (isinstance(names, list) and all(type(name) is str for name in names)):
            raise TypeError("names must be a list of texts")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path}: schema metadata 'huggingface' does not describe column {label}; "
            "write the file again, or without that metadata"
        ) from error
    return names or None
