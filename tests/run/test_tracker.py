"""Scores of a proxy on their way to the records, and what a display shows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nasi_ray.errors import NasiRayError, SearchStoppedError
from nasi_ray.records import RecordStore, ScoreRows
from nasi_ray.records.rows import ProxyScore
from nasi_ray.run.collect import collect_rows
from nasi_ray.run.tracker import CountProgress
from nasi_ray.runner import InProcessRunner
from nasi_ray.storage import LocalStorage
from tests.contracts.records import a_score
from tests.toy import Quiet


def run(path: Path, indices: Sequence[int], evaluate: Any) -> Quiet:
    store = RecordStore.open(LocalStorage(path), identity={"a": 1}, rows=ScoreRows("snip"))
    progress = Quiet()
    clock = iter(float(i) for i in range(10**6))
    tracker = CountProgress(
        store.read(),
        indices,
        unit="scores",
        title="snip (1 of 2)",
        name=lambda index: f"snip of cell {index}",
        clock=lambda: next(clock),
    )
    collect_rows(
        indices,
        runner=InProcessRunner(evaluate),
        store=store,
        progress=progress,
        tracker=tracker,
        may_fail=True,
        named_in="ranking.json counts",
        clock=lambda: next(clock),
    )
    return progress


def indices_in(path: Path) -> list[int]:
    store = RecordStore.open(LocalStorage(path), identity={"a": 1}, rows=ScoreRows("snip"))
    indices: list[int] = store.read().index.tolist()
    return indices


def test_scores_are_counted_with_those_that_were_there(tmp_path: Path) -> None:
    run(tmp_path, range(3), a_score)
    progress = run(tmp_path, range(3, 9), lambda i: a_score(i, failed=i == 4))
    last = progress.states[-1]
    assert (last.num_done, last.num_total, last.num_failed) == (9, 9, 1)
    assert (last.unit, last.title) == ("scores", "snip (1 of 2)")
    assert last.per_second is not None
    assert progress.messages == ["snip of cell 4 failed: overflow in 4"]
    assert indices_in(tmp_path) == list(range(9))


def test_a_proxy_that_fails_everywhere_is_an_answer(tmp_path: Path) -> None:
    progress = run(tmp_path, range(30), lambda i: a_score(i, failed=True))
    assert indices_in(tmp_path) == list(range(30))
    assert len(progress.messages) == 6
    assert progress.messages[-1] == "more scores failed; ranking.json counts them all"


def test_evaluations_that_are_all_lost_end_the_run(tmp_path: Path) -> None:
    def lost(index: int) -> ProxyScore:
        return replace(a_score(index, failed=True), status="lost", error="died")

    with pytest.raises(
        NasiRayError, match="the first 20 scores all failed, the last one with: died"
    ):
        run(tmp_path, range(100), lost)
    assert len(indices_in(tmp_path)) == 20


def test_a_stop_keeps_the_scores_and_counts_them(tmp_path: Path) -> None:
    def evaluate(index: int) -> ProxyScore:
        if index == 5:
            raise KeyboardInterrupt
        return a_score(index)

    with pytest.raises(SearchStoppedError, match="stopped with 5 of 9 scores stored"):
        run(tmp_path, range(9), evaluate)
    assert indices_in(tmp_path) == list(range(5))
