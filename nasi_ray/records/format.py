"""What a record is: the row formats' interface, and the columns that all of them have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nasi_ray.arrays import IntArray
from nasi_ray.records.rows import Status

STATUSES = get_args(Status)


class Row(Protocol):
    """What the store needs to know of a record."""

    @property
    def index(self) -> int:
        """What the record is of; a record of the same settings and index is the same."""

    @property
    def status(self) -> Status:
        """``lost`` gives way to any other."""

    @property
    def error(self) -> str:
        """Why it is not ok; empty when it is."""

    @property
    def seconds(self) -> float:
        """Wall time of the evaluation."""

    @property
    def worker(self) -> str:
        """Who evaluated it."""


R_contra = TypeVar("R_contra", bound=Row, contravariant=True)
T_co = TypeVar("T_co", covariant=True)


class RowFormat(Protocol[R_contra, T_co]):
    """How records of one kind are laid out in a part, and read back.

    The layout is part of what is stored: a change makes the parts of earlier programs unreadable.
    """

    @property
    def noun(self) -> str:
        """What messages call a record; its plural ends in s."""

    @property
    def kind(self) -> str:
        """Folder below which a run keeps its records of this kind."""

    @property
    def folder(self) -> str:
        """Where the parts are, ending in a slash: ``kind`` or a folder below."""

    @property
    def parameters(self) -> Mapping[str, str | int]:
        """What ``identity.json`` says of the format."""

    @property
    def scope(self) -> Mapping[str, str]:
        """What tells this folder's records from those of the run's other folders."""

    @property
    def schema(self) -> pa.Schema:
        """Columns of a part."""

    @property
    def encoding(self) -> Mapping[str, Any]:
        """Keywords of ``pyarrow.parquet.write_table``; all must keep every bit."""

    def arrays(self, rows: Sequence[R_contra]) -> dict[str, pa.Array]:
        """Column name -> values, in the order given.

        Raises:
            ValueError: If a row contradicts itself or does not fit the schema.
        """

    def impossible(self, table: pa.Table) -> list[str]:
        """Those of the columns read, beside ``index`` and ``status``, that hold what none may."""

    def bits(self, table: pa.Table) -> npt.NDArray[np.int64]:
        """What two records of an index must agree in, bit by bit; shape (rows, numbers)."""

    def read(self, table: pa.Table, rows: IntArray) -> T_co:
        """The given rows, which are in index order, as arrays of their own (writable)."""


def check_row(row: Row, noun: str, *, is_finite: bool) -> None:
    """Refuse what no record may be.

    Args:
        row: The record.
        noun: What it is called.
        is_finite: Whether all its numbers are.

    Raises:
        ValueError: If its index is negative, its status unknown, or it is ok and not finite.
    """
    if row.index < 0:
        raise ValueError(f"{noun} {row.index} has a negative index; at least 0 is allowed")
    if row.status not in STATUSES or (row.status == "ok" and not is_finite):
        raise ValueError(
            f"{noun} {row.index} has status {row.status!r} and is "
            f"{'finite' if is_finite else 'not finite'}; 'ok' must be finite, "
            "others are 'failed' or 'lost'"
        )


def ok_of(rows: Sequence[Row]) -> npt.NDArray[np.bool_]:
    """Which rows are ok."""
    return np.array([row.status == "ok" for row in rows], dtype=np.bool_)


def common_arrays(rows: Sequence[Row]) -> dict[str, pa.Array]:
    """The columns of every format."""
    return {
        "index": pa.array([row.index for row in rows], pa.int64()),
        "status": pa.array([row.status for row in rows], pa.string()),
        "error": pa.array([row.error for row in rows], pa.string()),
        "seconds": pa.array([row.seconds for row in rows], pa.float64()),
        "worker": pa.array([row.worker for row in rows], pa.string()),
    }


def is_fitting(table: pa.Table, name: str) -> bool:
    """Whether a column of numbers, or of lists of them, is finite just where the row is ok."""
    column = table[name]
    ok = pc.fill_null(pc.equal(table["status"], "ok"), False)
    is_list = not pa.types.is_floating(column.type)
    values = pc.list_flatten(column) if is_list else column.drop_null()
    is_there = all_true(pc.equal(pc.is_valid(column), ok)) and not values.null_count
    return is_there and all_true(pc.is_finite(values))


def all_true(condition: pa.ChunkedArray) -> bool:
    """Whether a condition holds of every row."""
    return bool(pc.all(condition, min_count=0).as_py())


def index_of(table: pa.Table) -> IntArray:
    """Indices in row order."""
    index: IntArray = table["index"].to_numpy()
    return index


def numbers(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """A column of numbers; null becomes NaN."""
    values: npt.NDArray[np.float64] = table[name].to_numpy()
    return values


def reasons(table: pa.Table, rows: IntArray) -> dict[int, str]:
    """Index -> error, of rows that are not ok."""
    errors = table["error"].take(pa.array(rows)).to_pylist()
    return dict(zip(index_of(table)[rows].tolist(), errors, strict=True))
