"""The encoded images in the rows of Parquet files."""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from nasi_ray.arrays import IntArray
from nasi_ray.data.columns import Columns
from nasi_ray.data.s3_path import DataPath, Reference, S3Path, open_data, reference
from nasi_ray.errors import DataError
from nasi_ray.parquet_file import UNREADABLE, open_parquet, read_batches, reason_of

KEPT_BYTES = 1 << 28
"""So many bytes of encoded images are kept in memory, and a row group that has more is refused."""
_ROWS_PER_READ = 16
_BYTES_PER_READ = 1 << 26
_READ_AHEAD = 1 << 23

Row = tuple[bytes | None, str]
"""An encoded image and its name."""


@contextmanager
def readable(path: DataPath | Reference, *, read_ahead: int = 1 << 16) -> Iterator[Any]:
    """Open a file as ``pyarrow.parquet.ParquetFile``.

    Args:
        path: Of the file, or object.
        read_ahead: Least bytes of a request to S3.

    Raises:
        DataError: If it cannot be read, also by what is done with it meanwhile.
        StorageError: If S3 cannot be reached.
    """
    about = reference(path) if isinstance(path, S3Path) else path
    try:
        with open_data(about, read_ahead) as opened, open_parquet(opened) as file:
            yield file
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise DataError(
            f"{path}: not a readable Parquet file ({reason_of(error)}); give a Parquet file, a "
            "directory of them, or an image folder"
        ) from error


class ParquetImages:
    """The rows of files. A row is read with its row group, and the last row groups are kept."""

    def __init__(self, files: Sequence[DataPath], columns: Columns) -> None:
        """Look at the row groups.

        Args:
            files: At least one.
            columns: Those of every file.

        Raises:
            DataError: If a file is not readable.
        """
        self._files, self._columns = tuple(map(reference, files)), columns
        rows: list[int] = []
        self._first_groups = [0]
        for path in files:
            with readable(path) as file:
                about = file.metadata
                rows += [about.row_group(g).num_rows for g in range(about.num_row_groups)]
            self._first_groups.append(len(rows))
        self._ends = np.cumsum(np.maximum(np.array(rows, np.int64), 0))
        self._kept: OrderedDict[int, list[Row]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": OrderedDict()}

    @property
    def blocks(self) -> IntArray:
        """Where each row group ends."""
        return self._ends

    def where(self, index: int) -> str:
        """The file and row of an image, and its name if its row group is kept."""
        group, place = self._place(index)
        number = self._file_of(group)
        name = self._kept[group][place][1] if group in self._kept else ""
        return _where(self._files[number], index - self._start(self._first_groups[number]), name)

    def read(self, index: int) -> bytes:
        """The encoded image of a row (see ``EncodedImages``)."""
        group, place = self._place(index)
        if group not in self._kept:
            self._kept[group] = self._read_group(group)
            while len(self._kept) > 1 and self._kept_bytes() > KEPT_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(group)
        return _present(self._kept[group][place][0], self.where(index))

    def stream(self) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """All rows in order, a few in memory at a time (see ``EncodedImages``)."""
        for path in self._files:
            with readable(path, read_ahead=_READ_AHEAD) as file:
                for number, (data, name) in enumerate(_rows(file, self._columns.image)):
                    where = _where(path, number, name)
                    yield where, partial(_present, data, where)

    def _start(self, group: int) -> int:
        return int(self._ends[group - 1]) if group else 0

    def _place(self, index: int) -> tuple[int, int]:
        group = int(np.searchsorted(self._ends, index, side="right"))
        return group, index - self._start(group)

    def _file_of(self, group: int) -> int:
        return bisect.bisect_right(self._first_groups, group) - 1

    def _kept_bytes(self) -> int:
        return sum(len(data or b"") for rows in self._kept.values() for data, _ in rows)

    def _read_group(self, group: int) -> list[Row]:
        number = self._file_of(group)
        path, rows, size = self._files[number], [], 0
        with readable(path, read_ahead=_READ_AHEAD) as file:
            for row in _rows(file, self._columns.image, group - self._first_groups[number]):
                rows.append(row)
                size += len(row[0] or b"")
                if size > KEPT_BYTES:
                    raise DataError(
                        f"{path}: a row group takes more than {KEPT_BYTES / 1e6:.0f} MB, too much "
                        "to read single images; write it again with at most 1000 rows in a row "
                        "group (row_group_size)"
                    )
        if len(rows) != self._ends[group] - self._start(group):
            raise DataError(f"{path}: broken, or changed since it was opened; open it again")
        return rows


def _rows(file: Any, column: str, group: int | None = None) -> Iterator[Row]:
    """The images of a file, or of one of its row groups."""
    limits = {"most_rows": _ROWS_PER_READ, "most_bytes": _BYTES_PER_READ}
    for batch in read_batches(file, [column], group=group, **limits):
        for image in batch.column(column).to_pylist():
            if isinstance(image, dict):
                name = image.get("path")
                yield image["bytes"], name if isinstance(name, str) else ""
            else:
                yield image, ""


def row_name(path: DataPath, columns: Columns, row: int) -> str:
    """Names a row in messages; reads the file up to it."""
    with readable(path) as file:
        for number, (_, name) in enumerate(_rows(file, columns.image)):
            if number == row:
                return _where(path, row, name)
    return _where(path, row, "")


def _where(path: DataPath | Reference, row: int, name: str) -> str:
    return f"{path}: row {row}" + (f" ({name})" if name else "")


def _present(data: bytes | None, where: str) -> bytes:
    if data is None:
        raise DataError(f"{where}: no image bytes; every row must hold its image")
    return data
