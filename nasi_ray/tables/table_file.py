"""Write a table as Parquet, with the meaning of its columns, and completely or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from nasi_ray.errors import DataError
from nasi_ray.tables.metric import METADATA_KEY, Metric

Columns = Mapping[str, tuple[pa.Array | pa.ChunkedArray, Metric | None]]
"""Column name -> its values and, for accuracies, their meaning."""


def make_table(columns: Columns) -> pa.Table:
    """Make a table of columns; those of accuracies store their meaning as metadata."""
    fields = [
        pa.field(name, values.type, metadata={METADATA_KEY: metric.to_json()} if metric else None)
        for name, (values, metric) in columns.items()
    ]
    return pa.Table.from_arrays([v for v, _ in columns.values()], schema=pa.schema(fields))


def check_source(source: str | Path, target: str | Path, *, folder_allowed: bool = False) -> Path:
    """Check that a source exists, and that writing the target would not destroy it.

    Raises:
        DataError: If it is not a file (or a folder, if allowed), or is the target.
    """
    path = Path(source)
    needed = "a file or folder" if folder_allowed else "a file"
    if not path.exists():
        raise DataError(f"there is no {source}; give {needed}")
    if not path.is_file() and not (folder_allowed and path.is_dir()):
        raise DataError(f"{source} cannot be read; give {needed}")
    if Path(target).exists() and path.samefile(target):
        raise DataError(f"{target} is the source, which would be lost; give another target")
    return path


@contextlib.contextmanager
def replacing(target: str | Path) -> Iterator[Callable[[pa.Table], None]]:
    """Make sure that a table can be written before the work starts; then write it.

    Yields:
        A function that writes a table and replaces the target. If the block ends without that,
        the target stays as it was.

    Raises:
        DataError: If the target cannot be written, now or at the end.
    """
    path = Path(target)
    with _told(target):
        if path.is_symlink():
            raise DataError(f"{target} cannot be written: it is a link; name the file itself")
        if path.exists() and not path.is_file():
            raise DataError(f"{target} cannot be written: it is not a file")
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with _told(target):
            file = partial.open("xb")
        try:
            yield lambda table: _write(table, file, target)
        finally:
            with contextlib.suppress(OSError):  # a full disk says so again
                file.close()
    finally:
        with contextlib.suppress(OSError, ValueError):
            partial.unlink(missing_ok=True)


def _write(table: pa.Table, file: BinaryIO, target: str | Path) -> None:
    with _told(target):
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
        os.replace(file.name, target)


@contextlib.contextmanager
def _told(target: str | Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise DataError(f"{target} cannot be written: {reason}") from error
