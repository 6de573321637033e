"""Records of every kind, made up for tests, for the contract of the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nasi_ray.records import RowFormat, SampleRows, ScoreRows
from nasi_ray.records.rows import ProxyScore, SampleTable, ScoreTable
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


def score_table(scores: Sequence[ProxyScore]) -> ScoreTable:
    """By index; of an index given twice the first that is not lost."""
    by_index: dict[int, ProxyScore] = {}
    for score in sorted(scores, key=lambda s: s.status == "lost"):
        by_index.setdefault(score.index, score)
    rows = [by_index[i] for i in sorted(by_index)]
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
}
