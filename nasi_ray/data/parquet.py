"""Parquet data sets in the Hugging Face layout: encoded images and labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nasi_ray.data.columns import Columns, find_columns
from nasi_ray.data.decoded import DecodedImages
from nasi_ray.data.image_set import MAX_CLASSES, ImageSet
from nasi_ray.data.options import ReadOptions
from nasi_ray.errors import DataError
from nasi_ray.parquet_file import UNREADABLE, open_parquet, read_batches, reason_of

_ROWS_PER_READ = 16
_BYTES_PER_READ = 1 << 26
_MAX_LABEL_LENGTH = 200


def read_parquet(
    files: Sequence[Path],
    options: ReadOptions,
    *,
    image_size: int,
    source: str,
    read: Sequence[str] = (),
) -> ImageSet:
    """Read and decode the files, rows in order.

    Args:
        files: At least one; all with the same image and label columns.
        options: What to read.
        image_size: Height and width S in pixels.
        source: What the user named.
        read: For the summary, as for ``make_image_set``.

    Raises:
        DataError: If a file is not a Parquet file, lacks the columns, or holds an image that does
            not decode or a label that is missing or not one of the classes.
    """
    columns, num_rows = _common_columns(files, options)
    images = DecodedImages(
        num_rows, image_size=image_size, source=source, skip_broken=options.skip_broken
    )
    if columns.has_text_labels:
        names = _text_labels(files, columns)
        numbers = {name: number for number, name in enumerate(names)}
        how = f"texts of column {columns.label} as classes, in sorted order"
    else:
        names, numbers, how = columns.class_names or [], {}, ""
    for path in files:
        for row, data, name, label in _rows(path, columns):
            where = f"{path}: row {row}" + (f" ({name})" if name else "")
            number = numbers[label] if numbers else _checked_number(label, columns, where)
            with images.skipping(where):
                if data is None:
                    raise DataError(f"{where}: no image bytes; every row must hold its image")
                images.add(data, number, where)
    return images.finish(num_classes=len(names) or None, names=names, read=[*read, how])


def _common_columns(files: Sequence[Path], options: ReadOptions) -> tuple[Columns, int]:
    """The columns that all files have, and the number of rows together."""
    found: Columns | None = None
    num_rows = 0
    for path in files:
        try:
            with open_parquet(path) as file:
                columns = find_columns(path, file.schema_arrow, options)
                num_rows += max(0, file.metadata.num_rows)
        except UNREADABLE as error:
            raise _unreadable(path, error) from error
        if found is not None and columns != found:
            raise DataError(
                f"{path}: other columns or classes than {files[0]}; give files of one data set"
            )
        found = columns
    if found is None:
        raise ValueError("no files were given")
    return found, num_rows


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: not a readable Parquet file ({reason_of(error)}); give a Parquet file, a "
        "directory of them, or an image folder"
    )


def _text_labels(files: Sequence[Path], columns: Columns) -> list[str]:
    """The texts of the label column, each once, sorted."""
    names: set[str] = set()
    for path in files:
        row = 0
        for batch in _batches(path, [columns.label]):
            for label in batch.column(columns.label).to_pylist():
                if not label or len(label) > _MAX_LABEL_LENGTH:
                    given = "missing" if not label else f"{len(label)} characters long"
                    raise DataError(
                        f"{path}: row {row}: label is {given}; a label has 1 to "
                        f"{_MAX_LABEL_LENGTH} characters"
                    )
                names.add(label)
                row += 1
        if len(names) > MAX_CLASSES:
            raise DataError(
                f"{path}: column {columns.label} has more than {MAX_CLASSES} different labels; "
                "name another with --label-column"
            )
    return sorted(names)


def _batches(path: Path, columns: list[str]) -> Iterator[Any]:
    try:
        with open_parquet(path) as file:
            yield from read_batches(
                file, columns, most_rows=_ROWS_PER_READ, most_bytes=_BYTES_PER_READ
            )
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def _rows(path: Path, columns: Columns) -> Iterator[tuple[int, bytes | None, str, Any]]:
    """Row number, image bytes, image name and label of every row."""
    row, num_rows = 0, _num_rows(path)
    for batch in _batches(path, [columns.image, columns.label]):
        if row + len(batch) > num_rows:
            row += len(batch)
            break
        images = batch.column(columns.image).to_pylist()
        for image, label in zip(images, batch.column(columns.label).to_pylist(), strict=True):
            if isinstance(image, dict):
                name = image.get("path")
                yield row, image["bytes"], name if isinstance(name, str) else "", label
            else:
                yield row, image, "", label
            row += 1
    if row != num_rows:
        raise DataError(f"{path}: broken: it does not have the {num_rows} rows that it promises")


def _num_rows(path: Path) -> int:
    try:
        with open_parquet(path) as file:
            return int(file.metadata.num_rows)
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def _checked_number(label: int | None, columns: Columns, where: str) -> int:
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
    if columns.class_names is not None and label >= len(columns.class_names):
        raise DataError(
            f"{where}: label is {label} and the metadata names {len(columns.class_names)} classes; "
            "correct one of them"
        )
    return label
