"""One part of the records: samples as a Parquet file whose name carries its own checksum.

The name ends in a digest of the whole file, so that a torn or altered part is told from a good
one whichever byte is wrong (page checksums, written too for other readers, leave out the footer).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nasi_ray.errors import RecordConflictError, RecordCorruptError
from nasi_ray.records import FloatArray, IntArray, Sample, SampleTable, Status

PARTS = "samples/"
_NAME = re.compile(r"samples/part-(\d{8,})-([0-9a-f]{16})\.parquet")
_VERSION = b"1"
_STATUSES = get_args(Status)
_VERSION_KEY = b"nasi_ray.version"
_FINGERPRINT_KEY = b"nasi_ray.fingerprint"
# Small enough to keep reading lean, large enough to compress.
_ROW_GROUP_SIZE = 65_536
_ADVICE = "delete it to have its samples evaluated again"


def part_name(number: int, data: bytes) -> str:
    """``samples/part-<number>-<digest>.parquet``."""
    return f"{PARTS}part-{number:08d}-{_digest(data)}.parquet"


def part_number(name: str) -> int | None:
    """The number in a part's name; None if the name is not one of ours."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def table_of(samples: Sequence[Sample], *, num_logits: int, fingerprint: str) -> pa.Table:
    """Arrange samples as columns, in the order given.

    Raises:
        ValueError: If a sample contradicts itself (see ``Sample``) or does not fit the schema.
    """
    for sample in samples:
        _check(sample, num_logits)
    ok = np.array([s.status == "ok" for s in samples], dtype=np.bool_)
    grad = np.array([s.grad for s in samples], dtype=np.float64).reshape(-1, num_logits)
    grad[~ok] = 0.0
    lengths = [len(s.choices) for s in samples]
    flat = np.concatenate([np.empty(0, dtype=np.int64), *(s.choices for s in samples)])
    choices = pa.array(flat).cast(pa.int16())
    offsets = pa.array(np.cumsum([0, *lengths]), pa.int32())
    columns = {
        "index": pa.array([s.index for s in samples], pa.int64()),
        "status": pa.array([s.status for s in samples], pa.string()),
        "trace_norm": pa.array(np.array([s.trace_norm for s in samples]), pa.float64(), mask=~ok),
        "grad": pa.FixedSizeListArray.from_arrays(
            pa.array(grad.ravel()), num_logits, mask=pa.array(~ok)
        ),
        "choices": pa.ListArray.from_arrays(offsets, choices),
        "error": pa.array([s.error for s in samples], pa.string()),
        "seconds": pa.array([s.seconds for s in samples], pa.float64()),
        "worker": pa.array([s.worker for s in samples], pa.string()),
    }
    schema = _schema(num_logits)
    arrays = [columns[name] for name in schema.names]
    metadata = {_VERSION_KEY: _VERSION, _FINGERPRINT_KEY: fingerprint.encode()}
    return pa.Table.from_arrays(arrays, schema=schema.with_metadata(metadata))


def to_bytes(table: pa.Table) -> bytes:
    """Encode a table as the content of a part; float64 values keep every bit."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        row_group_size=_ROW_GROUP_SIZE,
        use_dictionary=["status", "error", "worker"],
        column_encoding={"grad.list.element": "BYTE_STREAM_SPLIT"},
        write_page_checksum=True,
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_bytes(
    data: bytes,
    *,
    name: str,
    uri: str,
    num_logits: int,
    fingerprint: str,
    columns: list[str] | None = None,
) -> pa.Table:
    """Verify the content of a part, and decode it or some of its columns.

    Raises:
        RecordCorruptError: If it is torn, altered, or of another schema.
        RecordConflictError: If it holds samples of other settings.
    """
    where = f"{uri}/{name}"
    match = _NAME.fullmatch(name)
    if match is None or match[2] != _digest(data):
        raise RecordCorruptError(f"{where} is torn or was altered (wrong checksum); {_ADVICE}")
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        _check_schema(file.schema_arrow, where, num_logits, fingerprint)
        # One row group after the other: all at once takes up to twice the memory.
        groups = [file.read_row_group(i, columns) for i in range(file.num_row_groups)]
        for group in groups:
            _check_values(group, where)
        return pa.concat_tables(groups or [file.read(columns)])
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise RecordCorruptError(f"{where} is no record file ({reason}); {_ADVICE}") from error


def index_of(table: pa.Table) -> IntArray:
    """Sample indices in row order."""
    index: IntArray = table["index"].to_numpy()
    return index


def is_lost(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Which rows hold a sample no evaluation of which came to an end."""
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


def first_difference(table: pa.Table, pairs: IntArray) -> tuple[int, int] | None:
    """The first pair of rows that differ in a bit of trace_norm or grad."""
    for start in range(0, len(pairs), _ROW_GROUP_SIZE):
        block = pairs[start : start + _ROW_GROUP_SIZE]
        one, other = (_bits(table.take(pa.array(rows))) for rows in block.T)
        differs = (one != other).any(axis=1)
        if differs.any():
            earlier, later = block[int(np.argmax(differs))]
            return int(earlier), int(later)
    return None


def sample_table(table: pa.Table, rows: IntArray) -> SampleTable:
    """The given rows, which must be in index order, as arrays of their own (writable)."""
    ok = pc.equal(table["status"], "ok").to_numpy()[rows]
    index = index_of(table)[rows]
    failed = rows[~ok]
    errors = table["error"].take(pa.array(failed)).to_pylist()
    return SampleTable(
        index=index,
        ok=ok,
        trace_norm=_trace_norm(table)[rows],
        grad=_grad(table, rows),
        errors=dict(zip(index[~ok].tolist(), errors, strict=True)),
        seconds=table["seconds"].to_numpy()[rows],
    )


def _check(sample: Sample, num_logits: int) -> None:
    if sample.index < 0 or sample.grad.shape != (num_logits,):
        raise ValueError(
            f"sample {sample.index} has a gradient of shape {sample.grad.shape}; "
            f"an index of at least 0 and shape ({num_logits},) are allowed"
        )
    is_finite = bool(np.isfinite(sample.trace_norm) and np.isfinite(sample.grad).all())
    if sample.status not in _STATUSES or (sample.status == "ok" and not is_finite):
        raise ValueError(
            f"sample {sample.index} has status {sample.status!r} and is "
            f"{'finite' if is_finite else 'not finite'}; 'ok' must be finite, "
            "others are 'failed' or 'lost'"
        )


def _check_schema(schema: pa.Schema, where: str, num_logits: int, fingerprint: str) -> None:
    metadata = schema.metadata or {}
    if metadata.get(_VERSION_KEY) != _VERSION:
        found = metadata.get(_VERSION_KEY, b"none").decode(errors="replace")
        raise RecordCorruptError(
            f"{where} has schema version {found}, this program reads {_VERSION.decode()}; use the "
            f"program that wrote it, or {_ADVICE}"
        )
    if metadata.get(_FINGERPRINT_KEY) != fingerprint.encode():
        raise RecordConflictError(
            f"{where} holds samples of other settings than the rest of the run; move it back to "
            f"the run it came from, or {_ADVICE}"
        )
    if not schema.equals(_schema(num_logits)):
        raise RecordCorruptError(f"{where} has other columns than a record file; {_ADVICE}")


def _check_values(table: pa.Table, where: str) -> None:
    """What ``_check`` makes sure of at writing, of the columns that were read."""
    index = table["index"]
    bad = [] if not index.null_count and _all(pc.greater_equal(index, 0)) else ["index"]
    if "status" in table.column_names:
        status = table["status"]
        ok = pc.fill_null(pc.equal(status, "ok"), False)
        if status.null_count or not _all(pc.is_in(status, pa.array(_STATUSES))):
            bad.append("status")
        for name in ("trace_norm", "grad"):
            if name not in table.column_names:
                continue
            column = table[name]
            values = pc.list_flatten(column) if name == "grad" else column.drop_null()
            is_fitting = _all(pc.equal(pc.is_valid(column), ok)) and not values.null_count
            if not (is_fitting and _all(pc.is_finite(values))):
                bad.append(name)
    if bad:
        raise RecordCorruptError(f"{where} holds impossible values of {', '.join(bad)}; {_ADVICE}")


def _all(condition: pa.ChunkedArray) -> bool:
    return bool(pc.all(condition, min_count=0).as_py())


def _schema(num_logits: int) -> pa.Schema:
    return pa.schema(
        {
            "index": pa.int64(),
            "status": pa.string(),
            "trace_norm": pa.float64(),
            "grad": pa.list_(pa.float64(), num_logits),
            "choices": pa.list_(pa.int16()),
            "error": pa.string(),
            "seconds": pa.float64(),
            "worker": pa.string(),
        }
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _trace_norm(table: pa.Table) -> FloatArray:
    trace_norm: FloatArray = table["trace_norm"].to_numpy()  # null becomes NaN
    return trace_norm


def _grad(table: pa.Table, rows: IntArray) -> FloatArray:
    # Scattered chunk by chunk, so that a large table is held twice and never three times.
    target = np.full(len(table), -1, dtype=np.int64)
    target[rows] = np.arange(len(rows))
    num_logits = table.schema.field("grad").type.list_size
    grad = np.empty((len(rows), num_logits), dtype=np.float64)
    start = 0
    for chunk in table["grad"].chunks:
        end = start + len(chunk)
        kept = target[start:end] >= 0
        flat = chunk.values.slice(chunk.offset * num_logits, len(chunk) * num_logits)
        values = flat.to_numpy(zero_copy_only=False).reshape(-1, num_logits)
        if chunk.null_count:
            values = np.where(chunk.is_valid().to_numpy(False)[:, None], values, np.nan)
        grad[target[start:end][kept]] = values if kept.all() else values[kept]
        start = end
    return grad


def _bits(table: pa.Table) -> npt.NDArray[np.int64]:
    grad = _grad(table, np.arange(len(table)))
    return np.column_stack([_trace_norm(table), grad]).view(np.int64)
