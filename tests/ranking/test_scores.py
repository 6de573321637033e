from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nasi_ray
from nasi_ray.errors import RecordConflictError
from nasi_ray.ranking.scores import gather, record_indices, seeds_of
from nasi_ray.records import RecordStore, SampleRows, ScoreRows
from nasi_ray.records.rows import ProxyScore, ScoreTable
from nasi_ray.spaces.nb1shot1 import S1
from nasi_ray.storage import LocalStorage
from tests.contracts.records import score_table
from tests.contracts.samples import a_sample

TOTAL = 10
POSITIONS = np.array([2, 5, 9])


def good(index: int) -> ProxyScore:
    return ProxyScore(index=index, status="ok", score=index / 4, seconds=0.5)


def bad(index: int, status: str, error: str) -> ProxyScore:
    return ProxyScore(index=index, status=status, score=np.nan, error=error)  # type: ignore[arg-type]


def table_of(*scores: ProxyScore) -> ScoreTable:
    return score_table(scores)


def test_an_index_is_seed_times_architectures_plus_position() -> None:
    assert record_indices("snip", TOTAL, POSITIONS, (0, 3)).tolist() == [2, 5, 9, 32, 35, 39]


def test_sizes_are_of_seed_zero_whatever_is_asked() -> None:
    assert seeds_of("num_params", (4, 5)) == (0,)
    assert seeds_of("snip", (4, 5)) == (4, 5)
    assert record_indices("multiply_adds", TOTAL, POSITIONS, (4, 5)).tolist() == [2, 5, 9]


def test_records_are_arranged_by_seed_and_architecture() -> None:
    table = table_of(
        good(2), good(3), good(9), good(12), bad(15, "failed", "a"), bad(5, "failed", "a"),
        bad(19, "lost", "b"), good(25),
    )  # fmt: skip
    found = gather("snip", table, num_architectures=TOTAL, positions=POSITIONS, seeds=(1, 0, 2))
    nan = np.nan
    assert found.seeds == (1, 0, 2)
    np.testing.assert_array_equal(
        found.scores, [[3.0, nan, nan], [0.5, nan, 2.25], [nan, 6.25, nan]]
    )
    assert (found.num_failed, found.num_lost, found.num_absent) == (2, 1, 2)
    assert dict(found.reasons) == {"a": 2, "b": 1}
    assert list(found.reasons) == ["a", "b"]
    assert len(found.seconds) == 7


def test_no_records_at_all_are_all_absent() -> None:
    found = gather("snip", table_of(), num_architectures=TOTAL, positions=POSITIONS, seeds=(0,))
    assert np.isnan(found.scores).all()
    assert found.num_absent == 3


def test_scores_are_read_from_python(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "run")
    total = S1.num_architectures
    identity = {"space": "s1", "data": "random"}
    snip = RecordStore.open(storage, identity=identity, rows=ScoreRows("snip"))
    snip.append([good(7), good(4), bad(total + 4, "failed", "why")])
    size = RecordStore.open(storage, identity=identity, rows=ScoreRows("num_params"))
    size.append([good(4)])
    storage.write("scores/.DS_Store", b"?")
    found = nasi_ray.read_scores(str(tmp_path / "run"))
    assert found.space == "s1"
    assert found.positions.tolist() == [4, 7]
    assert found.architectures() == [S1.architecture(4), S1.architecture(7)]
    assert sorted(found.by_proxy) == ["num_params", "snip"]
    np.testing.assert_array_equal(found.by_proxy["snip"].scores, [[1.0, 1.75], [np.nan, np.nan]])
    assert found.by_proxy["snip"].seeds == (0, 1)
    np.testing.assert_array_equal(found.by_proxy["num_params"].scores, [[1.0, np.nan]])


def test_what_is_no_ranking_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordConflictError, match="holds no run of a ranking; name the --out"):
        nasi_ray.read_scores(str(tmp_path / "no"))
    assert not (tmp_path / "no").exists()
    storage = LocalStorage(tmp_path / "search")
    store = RecordStore.open(storage, identity={"space": "s1"}, rows=SampleRows(5))
    store.append([a_sample(0)])
    with pytest.raises(RecordConflictError, match=r"of a search: it holds samples, not scores; n"):
        nasi_ray.read_scores(str(tmp_path / "search"))
