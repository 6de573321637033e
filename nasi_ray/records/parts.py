"""One part of the records: rows as a Parquet file whose name carries its own checksum.

The name ends in a digest of the whole file, so that a torn or altered part is told from a good
one whichever byte is wrong (page checksums, written too for other readers, leave out the footer).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nasi_ray.arrays import IntArray
from nasi_ray.errors import RecordConflictError, RecordCorruptError
from nasi_ray.records.format import ENDED, Row, RowFormat, index_of, invalid_columns

R = TypeVar("R", bound=Row)

_NAME = re.compile(r"part-(\d{8,})-([0-9a-f]{16})\.parquet")
_VERSION = b"1"
_VERSION_KEY = b"nasi_ray.version"
_FINGERPRINT_KEY = b"nasi_ray.fingerprint"
# Small enough to keep reading lean, large enough to compress.
_ROW_GROUP_SIZE = 65_536
# Of less than this, starting threads takes longer than decoding.
_LARGE_BYTES = 1 << 20


def part_name(folder: str, number: int, data: bytes) -> str:
    """``<folder>part-<number>-<digest>.parquet``."""
    return f"{folder}part-{number:08d}-{_digest(data)}.parquet"


def part_number(folder: str, name: str) -> int | None:
    """The number in a part's name; None if the name is not one of ours."""
    match = _match(folder, name)
    return int(match[1]) if match else None


def table_of(rows: Sequence[R], rows_of: RowFormat[R, Any], *, fingerprint: str) -> pa.Table:
    """Arrange rows as columns, in the order given.

    Raises:
        ValueError: If a row contradicts itself or does not fit the schema.
    """
    columns = rows_of.arrays(rows)
    schema = rows_of.schema
    metadata = {_VERSION_KEY: _VERSION, _FINGERPRINT_KEY: fingerprint.encode()}
    arrays = [columns[name] for name in schema.names]
    table = pa.Table.from_arrays(arrays, schema=schema.with_metadata(metadata))
    if invalid_columns(table, rows_of):
        one_by_one = (invalid_columns(table.slice(i, 1), rows_of) for i in range(len(table)))
        row, bad = next((row, bad) for row, bad in zip(rows, one_by_one, strict=True) if bad)
        raise ValueError(f"{rows_of.label} {row.index} holds impossible {'; '.join(bad)}")
    return table


def to_bytes(table: pa.Table, rows_of: RowFormat[Any, Any]) -> bytes:
    """Encode a table as the content of a part; float64 values keep every bit."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        row_group_size=_ROW_GROUP_SIZE,
        write_page_checksum=True,
        **rows_of.encoding,
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_bytes(
    data: bytes,
    rows_of: RowFormat[Any, Any],
    *,
    name: str,
    uri: str,
    fingerprint: str,
    columns: list[str] | None = None,
) -> pa.Table:
    """Verify the content of a part, and decode it or some of its columns.

    Raises:
        RecordCorruptError: If it is torn, altered, or of another schema.
        RecordConflictError: If it holds records of other settings.
    """
    where = f"{uri}/{name}"
    advice = _advice(rows_of)
    check_digest(data, rows_of, name=name, uri=uri)
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        _check_schema(file.schema_arrow, rows_of, where, fingerprint)
        # One row group after the other: all at once takes up to twice the memory. All of it is
        # checked, so that a bad part is found before work is done that rests on it.
        groups = []
        is_large = len(data) > _LARGE_BYTES
        for number in range(file.num_row_groups):
            group = _with_ended(file.read_row_group(number, use_threads=is_large), rows_of.schema)
            group.validate(full=True)
            if bad := invalid_columns(group, rows_of):
                raise RecordCorruptError(
                    f"{where} holds impossible values of {'; '.join(bad)}; {advice}"
                )
            groups.append(group.select(columns) if columns else group)
        empty = rows_of.schema.empty_table()
        return pa.concat_tables(groups or [empty.select(columns) if columns else empty])
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise RecordCorruptError(f"{where} is not a record file ({reason}); {advice}") from error


def check_digest(data: bytes, rows_of: RowFormat[Any, Any], *, name: str, uri: str) -> None:
    """Make sure that the content of a part is what was written.

    Raises:
        RecordCorruptError: If it is torn or altered.
    """
    match = _match(rows_of.folder, name)
    if match is None or match[2] != _digest(data):
        raise RecordCorruptError(
            f"{uri}/{name} is incomplete or was changed (wrong checksum); {_advice(rows_of)}"
        )


def is_lost(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Which rows hold a record no evaluation of which came to an end."""
    lost: npt.NDArray[np.bool_] = pc.equal(table["status"], "lost").to_numpy()
    return lost


def rows_to_keep(table: pa.Table) -> tuple[IntArray, IntArray]:
    """Sort rows by index and find the repeated ones.

    Returns:
        The first row of each index, in index order, a lost one only where there is no other; and
        pairs of rows with the same index that must be equal, shape (pairs, 2), earlier row first.
    """
    index, lost = index_of(table), is_lost(table)
    order = np.lexsort((np.arange(len(index)), lost, index))
    is_repeated = np.diff(index[order], prepend=-1) == 0
    later = np.flatnonzero(is_repeated & ~lost[order])
    return order[~is_repeated], np.stack([order[later - 1], order[later]], axis=1)


def first_difference(
    table: pa.Table, rows_of: RowFormat[Any, Any], pairs: IntArray
) -> tuple[int, int] | None:
    """The first pair of rows that differ in a bit of their numbers."""
    for start in range(0, len(pairs), _ROW_GROUP_SIZE):
        block = pairs[start : start + _ROW_GROUP_SIZE]
        one, other = (rows_of.bit_patterns(table.take(pa.array(rows))) for rows in block.T)
        differs = (one != other).any(axis=1)
        if differs.any():
            earlier, later = block[int(np.argmax(differs))]
            return int(earlier), int(later)
    return None


def _check_schema(
    schema: pa.Schema, rows_of: RowFormat[Any, Any], where: str, fingerprint: str
) -> None:
    metadata, advice = schema.metadata or {}, _advice(rows_of)
    if metadata.get(_VERSION_KEY) != _VERSION:
        found = metadata.get(_VERSION_KEY, b"none").decode(errors="replace")
        raise RecordCorruptError(
            f"{where} has schema version {found}, this program reads {_VERSION.decode()}; use the "
            f"program that wrote it, or {advice}"
        )
    if metadata.get(_FINGERPRINT_KEY) != fingerprint.encode():
        raise RecordConflictError(
            f"{where} holds {rows_of.label}s of other settings than the rest of the run; move it "
            f"back to the run it came from, or {advice}"
        )
    expected = rows_of.schema
    if not (schema.equals(expected) or schema.equals(_without_ended(expected))):
        raise RecordCorruptError(f"{where} has other columns than a record file; {advice}")


def _without_ended(schema: pa.Schema) -> pa.Schema:
    return schema.remove(schema.get_field_index(ENDED))


def _with_ended(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """All columns, in the schema's order; what an older program did not record is null."""
    if ENDED in table.column_names:
        return table
    field = schema.field(ENDED)
    unknown = pa.nulls(len(table), field.type)
    return table.add_column(schema.get_field_index(ENDED), field, unknown)


def _match(folder: str, name: str) -> re.Match[str] | None:
    return _NAME.fullmatch(name.removeprefix(folder)) if name.startswith(folder) else None


def _advice(rows_of: RowFormat[Any, Any]) -> str:
    return f"delete it to have its {rows_of.label}s evaluated again"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
