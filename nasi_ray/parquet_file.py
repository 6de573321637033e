"""Read Parquet files of unknown origin: what a read can take in memory is bounded beforehand."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nasi_ray.errors import DataError
from nasi_ray.files import open_regular

_TABLE_BYTES = 1 << 30
_TABLE_READ_BYTES = 1 << 28
_MAX_TEXT_BYTES = 1 << 16
"""Of one text in a table."""

UNREADABLE = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, OverflowError)
"""What reading a broken file raises; ``ValueError`` also for names that are not UTF-8."""


def reason_of(error: Exception) -> str:
    """The error's text on one line."""
    return " ".join(str(error).split()).rstrip(".")[:300] or type(error).__name__


@contextlib.contextmanager
def open_parquet(path: str | os.PathLike[str] | BinaryIO) -> Iterator[Any]:
    """Open a regular file as ``pyarrow.parquet.ParquetFile``.

    Args:
        path: Of the file; or a file that is open already, and stays so.

    Raises:
        OSError: As ``open_regular``.
        pyarrow.ArrowException: If it is no Parquet file.
    """
    with contextlib.ExitStack() as stack:
        file = path
        if isinstance(path, str | os.PathLike):
            file = stack.enter_context(open_regular(path))
        # Without a buffer a whole column of a row group is read at once.
        yield pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)


def read_batches(
    file: Any,
    columns: Sequence[str] | None,
    *,
    most_rows: int,
    most_bytes: int,
    group: int | None = None,
) -> Iterator[Any]:
    """The rows of a file in ``pyarrow.RecordBatch``es of limited size.

    A value is stored once and may stand in every row (dictionary encoding), so a read of n rows
    can take n times the size of the stored column.

    Args:
        file: From ``open_parquet``.
        columns: Top-level names; None: all.
        most_rows: Of a read.
        most_bytes: Of the text and encoded images of a read; one row is always read.
        group: Row group to read; None: all.

    Raises:
        DataError: If the numbers of a row group take more than 1 GiB.
        pyarrow.ArrowException: If the file is broken.
    """
    for number in range(file.metadata.num_row_groups) if group is None else [group]:
        # Threads cost more than they save in reads as small as these.
        read = partial(file.iter_batches, row_groups=[number], columns=columns, use_threads=False)
        # pyarrow aborts the process when it is asked for the sizes of a broken column, and raises
        # an exception when it is to read it.
        next(read(1), None)
        text, numbers = _sizes(file.metadata.row_group(number), file.schema, columns)
        if numbers > _TABLE_BYTES:
            raise DataError(
                f"row group {number} takes {numbers / 1e9:.1f} GB of memory; at most "
                f"{_TABLE_BYTES / 1e9:.1f} GB is allowed: write smaller row groups"
            )
        rows = max(1, min(most_rows, most_bytes // max(1, text)))
        for batch in read(rows):
            batch.validate(full=True)  # also that texts are UTF-8
            yield batch


def read_table(path: str | os.PathLike[str]) -> pa.Table:
    """Read a whole file of at most 1 GiB in memory, without texts of more than 64 KiB.

    Raises:
        DataError: If it is larger, or has a longer text.
        OSError: As ``open_regular``.
        pyarrow.ArrowException: If it is no Parquet file, or broken.
    """
    with open_parquet(path) as file:
        batches, size = [], 0
        for batch in read_batches(file, None, most_rows=1 << 16, most_bytes=_TABLE_READ_BYTES):
            batches.append(batch)
            size += batch.nbytes
            _refuse_long_texts(batch)
            if size > _TABLE_BYTES:
                raise DataError(f"it takes more than {_TABLE_BYTES / 1e9:.1f} GB of memory")
        return pa.Table.from_batches(batches, schema=file.schema_arrow).combine_chunks()


def _refuse_long_texts(batch: Any) -> None:
    for column in batch.columns:
        if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
            longest = pc.max(pc.binary_length(column)).as_py() or 0
            if longest > _MAX_TEXT_BYTES:
                raise DataError(
                    f"it has a text of {longest} bytes; a table's have at most {_MAX_TEXT_BYTES}"
                )


def _sizes(group: Any, schema: Any, columns: Sequence[str] | None) -> tuple[int, int]:
    """Bytes that one row of text and binary columns can take, and that all numbers take."""
    text = numbers = 0
    for position in range(len(schema)):
        about = schema.column(position)
        if columns is not None and about.path.split(".")[0] not in columns:
            continue
        column = group.column(position)
        if about.physical_type == "BYTE_ARRAY":
            text += max(0, column.total_uncompressed_size)
        else:
            numbers += max(8, about.length) * max(0, column.num_values)
    return text, numbers
