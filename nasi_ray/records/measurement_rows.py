"""The measurements of a search's samples: one folder for what is measured together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nasi_ray.arrays import IntArray
from nasi_ray.config import PATH, PATH_MEASUREMENTS
from nasi_ray.records.format import (
    Range,
    RowFormat,
    common_arrays,
    common_columns,
    index_of,
    numbers,
    ok_of,
    reasons,
)
from nasi_ray.records.rows import Measurement, MeasurementTable
from nasi_ray.records.sample_rows import choices_array, choices_of


@dataclass(frozen=True, slots=True)
class MeasurementRows:
    """``Measurement``s of one series, below ``measurements/<series>/``.

    They belong to a search, like its samples: the run's identity is the same.
    """

    num_logits: int
    """Logits of the space."""
    series: str
    """``path``, or the name of a proxy."""

    @property
    def names(self) -> tuple[str, ...]:
        """The measurements of the series."""
        return PATH_MEASUREMENTS if self.series == PATH else (self.series,)

    @property
    def label(self) -> str:
        """See ``RowFormat``."""
        return "measurement"

    @property
    def kind(self) -> str:
        """See ``RowFormat``."""
        return "samples"

    @property
    def folder(self) -> str:
        """See ``RowFormat``."""
        return f"measurements/{self.series}/"

    @property
    def parameters(self) -> Mapping[str, str | int]:
        """See ``RowFormat``."""
        return {"num_logits": self.num_logits}

    @property
    def partition(self) -> Mapping[str, str]:
        """The series: one's part in the folder of another is found out."""
        return {"measurement": self.series}

    @property
    def schema(self) -> pa.Schema:
        """See ``RowFormat``."""
        values = {name: pa.float64() for name in self.names}
        return pa.schema({**common_columns(), **values, "choices": pa.list_(pa.int16())})

    @property
    def encoding(self) -> Mapping[str, Any]:
        """See ``RowFormat``."""
        return {"use_dictionary": ["status", "error", "worker"]}

    def arrays(self, rows: Sequence[Measurement]) -> dict[str, pa.Array]:
        """See ``RowFormat``."""
        for row in rows:
            if tuple(row.values) != (() if row.status in ("failed", "lost") else self.names):
                raise ValueError(
                    f"measurement {row.index} ({row.status}) has {', '.join(row.values) or 'none'}"
                )
        values = {
            name: pa.array([row.values.get(name) for row in rows], pa.float64())
            for name in self.names
        }
        return {**common_arrays(rows), **values, "choices": choices_array(rows)}

    @property
    def ranges(self) -> Mapping[str, Range]:
        """See ``RowFormat``."""
        largest = float(np.finfo(np.float64).max)
        values = {name: Range(-largest, largest, may_be_null=True) for name in self.names}
        return {**values, "choices": Range(0, np.iinfo(np.int16).max)}

    def bit_patterns(self, table: pa.Table) -> npt.NDArray[np.int64]:
        """Those of the values."""
        return np.column_stack([numbers(table, name) for name in self.names]).view(np.int64)

    def read(self, table: pa.Table, rows: IntArray) -> MeasurementTable:
        """See ``RowFormat``."""
        ok = ok_of(table)[rows]
        return MeasurementTable(
            index=index_of(table)[rows],
            ok=ok,
            lost=pc.equal(table["status"], "lost").to_numpy()[rows],
            values={name: numbers(table, name)[rows] for name in self.names},
            choices=choices_of(table, rows),
            errors=reasons(table, rows[~ok]),
            seconds=numbers(table, "seconds")[rows],
        )


if TYPE_CHECKING:
    _: RowFormat[Measurement, MeasurementTable] = MeasurementRows(1, PATH)
