"""What a record is: the row formats' interface, and the columns that all of them have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nasi_ray.arrays import IntArray
from nasi_ray.records.rows import Status

STATUSES = get_args(Status)


class Range(NamedTuple):
    """The numbers that a column may hold; NaN is never one."""

    low: float
    high: float
    only_ok: bool = False
    """Whether there is a number exactly where the row is ok, and null elsewhere."""
    may_be_null: bool = False
    """Whether there may be none, wherever the row is ok or not."""
    is_optional: bool = False
    """Whether there may be none in any row."""

    def __str__(self) -> str:
        is_null_allowed = self.may_be_null or self.is_optional
        where = ", exactly where status is ok" * self.only_ok + " or null" * is_null_allowed
        return f"{self.low:g} to {self.high:g}{where}"


ENDED = "ended"
"""The column that parts of older programs lack."""

_RANGES = {
    "index": Range(0, np.iinfo(np.int64).max),
    "seconds": Range(0.0, 1e9),
    ENDED: Range(0.0, 1e11, is_optional=True),
}


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

    @property
    def ended(self) -> float | None:
        """Unix time at which that ended, in seconds; None if it is not known."""


R_contra = TypeVar("R_contra", bound=Row, contravariant=True)
T_co = TypeVar("T_co", covariant=True)


class RowFormat(Protocol[R_contra, T_co]):
    """How records of one kind are laid out in a part, and read back.

    The layout is part of what is stored: a change makes the parts of earlier programs unreadable.
    """

    @property
    def label(self) -> str:
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
    def partition(self) -> Mapping[str, str]:
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
            ValueError: If a row does not fit the schema.
        """

    @property
    def ranges(self) -> Mapping[str, Range]:
        """What the columns that are this format's own may hold: numbers, or lists of them."""

    def bit_patterns(self, table: pa.Table) -> npt.NDArray[np.int64]:
        """What two records of an index must agree in, bit by bit; shape (rows, numbers)."""

    def read(self, table: pa.Table, rows: IntArray) -> T_co:
        """The given rows, which are in index order, as arrays of their own (writable)."""


def are_ok(rows: Sequence[Row]) -> npt.NDArray[np.bool_]:
    """Which rows are ok."""
    return np.array([row.status == "ok" for row in rows], dtype=np.bool_)


def ok_of(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Which rows of a table are ok."""
    ok: npt.NDArray[np.bool_] = pc.equal(table["status"], "ok").to_numpy()
    return ok


def common_columns() -> dict[str, pa.DataType]:
    """Name -> type, of the columns of every format."""
    return {
        "index": pa.int64(),
        "status": pa.string(),
        "error": pa.string(),
        "seconds": pa.float64(),
        "worker": pa.string(),
        ENDED: pa.float64(),
    }


def common_arrays(rows: Sequence[Row]) -> dict[str, pa.Array]:
    """The columns of every format."""
    values = {
        "index": [row.index for row in rows],
        "status": [row.status for row in rows],
        "error": [_text(row.error) for row in rows],
        "seconds": [row.seconds for row in rows],
        "worker": [_text(row.worker) for row in rows],
        ENDED: [row.ended for row in rows],
    }
    return {name: pa.array(values[name], kind) for name, kind in common_columns().items()}


def _text(text: str) -> str:
    # The name of a file in an error may hold what no encoding has.
    return text.encode(errors="backslashreplace").decode()


def invalid_columns(table: pa.Table, rows_of: RowFormat[Any, Any]) -> list[str]:
    """Columns that hold what none may, each with what is allowed; at writing and at reading.

    Args:
        table: All columns of some rows.
        rows_of: Their format.
    """
    status = table["status"]
    is_ok = pc.fill_null(pc.equal(status, "ok"), False)
    bad = []
    if not all_true(pc.is_in(status, pa.array(STATUSES))):
        bad.append(f"status ({', '.join(STATUSES)})")
    if not all_true(pc.equal(pc.equal(table["error"], ""), is_ok)) or table["error"].null_count:
        bad.append("error (empty exactly where status is ok)")
    if table["worker"].null_count:
        bad.append("worker (a text)")
    for name, allowed in {**_RANGES, **rows_of.ranges}.items():
        is_there = pc.is_valid(table[name])
        if allowed.may_be_null:
            fits = pc.or_(is_ok, pc.invert(is_there))
        else:
            fits = pc.equal(is_there, is_ok if allowed.only_ok else pa.scalar(True))
        if not (allowed.is_optional or all_true(fits)) or not _is_within(table[name], allowed):
            bad.append(f"{name} ({allowed})")
    return bad


def _is_within(column: pa.ChunkedArray, allowed: Range) -> bool:
    is_list = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
    values = pc.list_flatten(column) if is_list else column.drop_null()
    # NaN is neither.
    within = pc.and_(pc.greater_equal(values, allowed.low), pc.less_equal(values, allowed.high))
    return not values.null_count and all_true(within)


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
