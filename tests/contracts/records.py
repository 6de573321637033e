"""Records of every kind, made up for tests, for the contract of the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nasi_ray.config import PATH
from nasi_ray.records import MeasurementRows, RowFormat, SampleRows, ScoreRows
from nasi_ray.records.rows import (
    Measurement,
    MeasurementTable,
    ProxyScore,
    SampleTable,
    ScoreTable,
)
from tests.contracts.samples import NUM_LOGITS, a_sample, assert_same_table


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of records: its format, records that follow from their index, their table."""

    rows: RowFormat[Any, Any]
    make: Callable[..., Any]
    """(index, failed=False) -> record"""
    table_of: Callable[[Sequence[Any]], Any]
    """Records in any order -> what a store of them reads."""
    assert_same: Callable[[Any, Any], None]

    @property
    def folder(self) -> str:
        return self.rows.folder

    @property
    def label(self) -> str:
        return self.rows.label


def a_score(index: int, *, failed: bool = False) -> ProxyScore:
    """The same score for the same arguments."""
    rng = np.random.default_rng([index, 77])
    score, seconds = float(rng.normal()), float(rng.uniform())
    return ProxyScore(
        index=index,
        status="failed" if failed else "ok",
        score=float("nan") if failed else score,
        error=f"overflow in {index}" if failed else "",
        seconds=seconds,
        worker="worker-0",
    )


MEASUREMENT_ROWS = MeasurementRows(NUM_LOGITS, PATH)


def a_measurement(index: int, *, failed: bool = False) -> Measurement:
    """The same measurement for the same arguments; every other one has a value not defined."""
    rng = np.random.default_rng([index, 78])
    values: dict[str, float | None] = {name: float(rng.normal()) for name in MEASUREMENT_ROWS.names}
    if index % 2:
        values["naswot"] = None
    return Measurement(
        index=index,
        status="failed" if failed else "ok",
        values={} if failed else values,
        choices=rng.integers(0, 8, size=4),
        error=f"overflow in {index}" if failed else "",
        seconds=float(rng.uniform()),
        worker="worker-0",
    )


def _by_index(rows: Sequence[Any]) -> list[Any]:
    """By index; of an index given twice the first that is not lost."""
    found: dict[int, Any] = {}
    for row in sorted(rows, key=lambda r: r.status == "lost"):
        found.setdefault(row.index, row)
    return [found[i] for i in sorted(found)]


def measurement_table(measurements: Sequence[Measurement]) -> MeasurementTable:
    """What a store of them reads."""
    rows = _by_index(measurements)
    width = max((len(m.choices) for m in rows), default=0)
    choices = [[*m.choices, *[-1] * (width - len(m.choices))] for m in rows]
    return MeasurementTable(
        index=np.array([m.index for m in rows], dtype=np.int64),
        ok=np.array([m.status == "ok" for m in rows], dtype=np.bool_),
        lost=np.array([m.status == "lost" for m in rows], dtype=np.bool_),
        values={
            name: np.array([m.values.get(name) for m in rows], dtype=np.float64)
            for name in MEASUREMENT_ROWS.names
        },
        choices=np.array(choices, dtype=np.int16).reshape(len(rows), width),
        errors={m.index: m.error for m in rows if m.status != "ok"},
        seconds=np.array([m.seconds for m in rows], dtype=np.float64),
    )


def assert_same_measurements(one: MeasurementTable, other: MeasurementTable) -> None:
    for name in ("index", "ok", "lost", "choices", "seconds"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        assert a.tobytes() == b.tobytes(), name
    assert list(one.values) == list(other.values)
    for name, column in one.values.items():
        np.testing.assert_array_equal(column, other.values[name], strict=True)
    assert one.errors == other.errors


def score_table(scores: Sequence[ProxyScore]) -> ScoreTable:
    """What a store of them reads."""
    rows = _by_index(scores)
    return ScoreTable(
        index=np.array([s.index for s in rows], dtype=np.int64),
        ok=np.array([s.status == "ok" for s in rows], dtype=np.bool_),
        lost=np.array([s.status == "lost" for s in rows], dtype=np.bool_),
        score=np.array([s.score for s in rows], dtype=np.float64),
        errors={s.index: s.error for s in rows if s.status != "ok"},
        seconds=np.array([s.seconds for s in rows], dtype=np.float64),
    )


def assert_same_scores(one: ScoreTable, other: ScoreTable) -> None:
    for name in ("index", "ok", "lost", "score", "seconds"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype, name
        assert a.tobytes() == b.tobytes(), name
    assert one.errors == other.errors


KINDS = {
    "samples": Kind(
        rows=SampleRows(NUM_LOGITS),
        make=a_sample,
        table_of=lambda rows: SampleTable.from_samples(rows, NUM_LOGITS),
        assert_same=assert_same_table,
    ),
    "scores": Kind(
        rows=ScoreRows("naswot"),
        make=a_score,
        table_of=score_table,
        assert_same=assert_same_scores,
    ),
    "measurements": Kind(
        rows=MEASUREMENT_ROWS,
        make=a_measurement,
        table_of=measurement_table,
        assert_same=assert_same_measurements,
    ),
}
