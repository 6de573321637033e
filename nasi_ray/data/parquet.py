"""Parquet data sets in the Hugging Face layout: encoded images and labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nasi_ray.arrays import IntArray
from nasi_ray.data.columns import Columns, find_columns
from nasi_ray.data.image_set import MAX_CLASSES
from nasi_ray.data.lazy import LazyImages, make_lazy_images
from nasi_ray.data.options import ReadOptions
from nasi_ray.data.parquet_images import ParquetImages, readable, row_name
from nasi_ray.data.s3_path import DataPath, size_of
from nasi_ray.errors import DataError
from nasi_ray.parquet_file import read_batches

_ROWS_PER_READ = 1 << 16
_BYTES_PER_READ = 1 << 24
_MAX_LABEL_LENGTH = 200


def open_parquet_set(
    files: Sequence[DataPath], options: ReadOptions, *, source: str, read: Sequence[str] = ()
) -> LazyImages:
    """Read the labels of the files; their rows stay in order.

    Args:
        files: At least one; all with the same image and label columns.
        options: What to read.
        source: What the user named.
        read: For the summary, as for ``make_image_set``.

    Raises:
        DataError: If a file is not a Parquet file, lacks the columns, or holds a label that is
            missing or not one of the classes.
    """
    columns = _common_columns(files, options)
    encoded = ParquetImages(files, columns)
    if columns.has_text_labels:
        labels, names = _text_labels(files, columns)
        read = [*read, f"texts of column {columns.label} as classes, in sorted order"]
    else:
        labels, names = _numbers(files, columns), columns.class_names or []
    if len(labels) != (encoded.blocks[-1] if len(encoded.blocks) else 0):
        raise DataError(
            f"{source}: broken: its row groups have another number of rows than its metadata says; "
            "replace the file"
        )
    about = [(file.name, size_of(file)) for file in files]
    return make_lazy_images(
        encoded,
        labels,
        class_names=names,
        names_and_sizes=[repr(about).encode(), encoded.blocks.astype("<i8").tobytes()],
        source=source,
        read=read,
        skip_broken=options.skip_broken,
    )


def _common_columns(files: Sequence[DataPath], options: ReadOptions) -> Columns:
    """The columns that all files have."""
    found: Columns | None = None
    for path in files:
        with readable(path) as file:
            columns = find_columns(path, file.schema_arrow, options)
        if found is not None and columns != found:
            raise DataError(
                f"{path}: its columns or classes differ from those of {files[0]}; give files of "
                "one data set"
            )
        found = columns
    if found is None:
        raise ValueError("no files were given")
    return found


def _labels(path: DataPath, columns: Columns) -> Iterator[Any]:
    """The labels of a file."""
    row = 0
    with readable(path) as file:
        num_rows = file.metadata.num_rows
        for batch in read_batches(
            file, [columns.label], most_rows=_ROWS_PER_READ, most_bytes=_BYTES_PER_READ
        ):
            row += len(batch)
            if row > num_rows:
                break
            yield from batch.column(columns.label).to_pylist()
    if row != num_rows:
        raise DataError(
            f"{path}: broken: it does not have the {num_rows} rows that its metadata says; replace "
            "the file"
        )


def _text_labels(files: Sequence[DataPath], columns: Columns) -> tuple[IntArray, list[str]]:
    """The numbers of the texts of the label column, and the texts, each once, sorted."""
    codes: list[int] = []
    seen: dict[str, int] = {}
    for path in files:
        for row, label in enumerate(_labels(path, columns)):
            if not label or len(label) > _MAX_LABEL_LENGTH:
                given = "missing" if not label else f"{len(label)} characters long"
                raise DataError(
                    f"{path}: row {row}: label is {given}; a label has 1 to "
                    f"{_MAX_LABEL_LENGTH} characters"
                )
            codes.append(seen.setdefault(label, len(seen)))
            if len(seen) > MAX_CLASSES:
                raise DataError(
                    f"{path}: column {columns.label} has more than {MAX_CLASSES} different "
                    "labels; name another with --label-column"
                )
    names = sorted(seen)
    number_of = {name: number for number, name in enumerate(names)}
    numbers = np.array([number_of[name] for name in seen], np.int64)
    return numbers[np.array(codes, np.int64)], names


def _numbers(files: Sequence[DataPath], columns: Columns) -> IntArray:
    """The labels, checked."""
    numbers: list[int] = []
    for path in files:
        for row, label in enumerate(_labels(path, columns)):
            if wrong := _wrong(label, columns):
                raise DataError(f"{row_name(path, columns, row)}: {wrong}")
            numbers.append(label)
    return np.array(numbers, np.int64)


def _wrong(label: int | None, columns: Columns) -> str:
    if label is None or label < 0:
        given = "null" if label is None else label
        return (
            f"label is {given}; labels count from 0 (a split without labels cannot be used, take "
            "another)"
        )
    if label >= MAX_CLASSES:
        return (
            f"label is {label}; labels count from 0 to at most {MAX_CLASSES - 1}: number the "
            "classes from 0"
        )
    if columns.class_names is not None and label >= len(columns.class_names):
        return (
            f"label is {label} and the metadata names {len(columns.class_names)} classes; correct "
            "one of them"
        )
    return ""
