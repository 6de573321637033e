"""The records of a search: Monte-Carlo samples with their gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.records.format import (
    ENDED,
    Range,
    RowFormat,
    are_ok,
    common_arrays,
    index_of,
    numbers,
    ok_of,
    reasons,
)
from nasi_ray.records.rows import MAX_MAGNITUDE, Measurement, Sample, SampleTable


@dataclass(frozen=True, slots=True)
class SampleRows:
    """``Sample``s with gradients of one length, below ``samples/``."""

    num_logits: int
    """Length of every gradient (≥ 1)."""

    def __post_init__(self) -> None:
        if self.num_logits < 1:
            raise ValueError(f"num_logits is {self.num_logits}; at least 1 is allowed")

    @property
    def label(self) -> str:
        """See ``RowFormat``."""
        return "sample"

    @property
    def kind(self) -> str:
        """See ``RowFormat``."""
        return "samples"

    @property
    def folder(self) -> str:
        """See ``RowFormat``."""
        return "samples/"

    @property
    def parameters(self) -> Mapping[str, str | int]:
        """See ``RowFormat``."""
        return {"num_logits": self.num_logits}

    @property
    def partition(self) -> Mapping[str, str]:
        """Nothing: there is one folder."""
        return {}

    @property
    def schema(self) -> pa.Schema:
        """See ``RowFormat``."""
        return pa.schema(
            {
                "index": pa.int64(),
                "status": pa.string(),
                "trace_norm": pa.float64(),
                "grad": pa.list_(pa.float64(), self.num_logits),
                "choices": pa.list_(pa.int16()),
                "error": pa.string(),
                "seconds": pa.float64(),
                "worker": pa.string(),
                ENDED: pa.float64(),
            }
        )

    @property
    def encoding(self) -> Mapping[str, Any]:
        """See ``RowFormat``."""
        return {
            "use_dictionary": ["status", "error", "worker"],
            "column_encoding": {"grad.list.element": "BYTE_STREAM_SPLIT"},
        }

    def arrays(self, rows: Sequence[Sample]) -> dict[str, pa.Array]:
        """See ``RowFormat``."""
        for sample in rows:
            self._check(sample)
        ok = are_ok(rows)
        grad = np.array([s.grad for s in rows], dtype=np.float64).reshape(-1, self.num_logits)
        grad[~ok] = 0.0
        trace_norm = np.array([s.trace_norm for s in rows])
        return {
            **common_arrays(rows),
            "trace_norm": pa.array(trace_norm, pa.float64(), mask=~ok),
            "grad": pa.FixedSizeListArray.from_arrays(
                pa.array(grad.ravel()), self.num_logits, mask=pa.array(~ok)
            ),
            "choices": choices_array(rows),
        }

    @property
    def ranges(self) -> Mapping[str, Range]:
        """See ``RowFormat``."""
        return {
            "trace_norm": Range(0.0, MAX_MAGNITUDE, only_ok=True),
            "grad": Range(-MAX_MAGNITUDE, MAX_MAGNITUDE, only_ok=True),
            "choices": Range(0, np.iinfo(np.int16).max),
        }

    def bit_patterns(self, table: pa.Table) -> npt.NDArray[np.int64]:
        """Those of trace norm and gradient."""
        grad = _grad(table, np.arange(len(table)))
        return np.column_stack([numbers(table, "trace_norm"), grad]).view(np.int64)

    def read(self, table: pa.Table, rows: IntArray) -> SampleTable:
        """See ``RowFormat``."""
        ok = ok_of(table)[rows]
        return SampleTable(
            index=index_of(table)[rows],
            ok=ok,
            trace_norm=numbers(table, "trace_norm")[rows],
            grad=_grad(table, rows),
            errors=reasons(table, rows[~ok]),
            seconds=numbers(table, "seconds")[rows],
            choices=choices_of(table, rows),
        )

    def _check(self, sample: Sample) -> None:
        if sample.grad.shape != (self.num_logits,):
            raise ValueError(
                f"sample {sample.index} has a gradient of shape {sample.grad.shape}; "
                f"shape ({self.num_logits},) is allowed"
            )


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


def choices_array(rows: Sequence[Sample] | Sequence[Measurement]) -> pa.Array:
    """The column of the choices."""
    lengths = [len(row.choices) for row in rows]
    flat = np.concatenate([np.empty(0, dtype=np.int64), *(row.choices for row in rows)])
    offsets = pa.array(np.cumsum([0, *lengths]), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(flat).cast(pa.int16()))


def choices_of(table: pa.Table, rows: IntArray) -> npt.NDArray[np.int16]:
    """The choices of some rows, shape (rows, choices), filled with -1."""
    column = pa.concat_arrays(table["choices"].chunks)
    lengths = pc.fill_null(column.value_lengths(), 0).to_numpy()
    padded = np.full((len(table), int(lengths.max(initial=0))), -1, dtype=np.int16)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = column.flatten().to_numpy()
    return padded[rows]


if TYPE_CHECKING:
    _: RowFormat[Sample, SampleTable] = SampleRows(1)
