from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nasi_ray import read_scores
from nasi_ray.config import ComputeSettings, EstimateConfig, SampleConfig
from nasi_ray.errors import (
    ConfigError,
    DataError,
    RecordConflictError,
    RunLockedError,
    SearchStoppedError,
    StorageError,
    UnknownNameError,
)
from nasi_ray.progress import Progress
from nasi_ray.proxies import PROXIES
from nasi_ray.ranking.architectures import select_architectures
from nasi_ray.ranking.job import plan_rank, run_rank
from nasi_ray.ranking.scoring import ScoreEvaluator
from nasi_ray.ranking.settings import RankConfig, RankJob
from nasi_ray.records.rows import ProxyScore
from nasi_ray.run import compute as evaluation
from nasi_ray.search.job import run_search
from nasi_ray.search.settings import SearchJob
from nasi_ray.spaces.nb1shot1 import S1
from nasi_ray.spaces.nb201 import NB201
from nasi_ray.statistics import coefficient
from nasi_ray.storage import LocalStorage
from tests.search.test_job import make_folder
from tests.toy import Quiet

pytestmark = pytest.mark.usefixtures("blank_pictures")

TINY = RankConfig(batch_size=4, image_size=8, num_channels=2)
Evaluated = list[tuple[str, int, int]]


def rank(job: RankJob, progress: Progress) -> dict[str, Any]:
    """The content of ``ranking.json``."""
    return run_rank(job, progress).to_dict()


def identity_of(scores: RankConfig) -> dict[str, Any]:
    plan = plan_rank(RankJob(scores=scores))
    return plan.fresh_identity({"data": "x"}, "cpu", "2.14.1")


def job(out: Path, *proxies: str, **changes: Any) -> RankJob:
    return RankJob(
        scores=replace(TINY, **changes.pop("scores", {})),
        proxies=proxies or ("synflow",),
        compute=ComputeSettings(num_workers=0),
        out=str(out),
        **{"architectures": "4", "num_bootstrap": 20, **changes},
    )


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    """(proxy, seed, position) in the order in which they were evaluated."""
    calls: Evaluated = []
    score = ScoreEvaluator._score

    def spy(self: ScoreEvaluator, proxy: str, architecture: Any, seed: int) -> float:
        calls.append((proxy, seed, self._space.index(architecture)))
        return score(self, proxy, architecture, seed)

    monkeypatch.setattr(ScoreEvaluator, "_score", spy)
    return calls


def write_s1_table(path: Path, positions: Any) -> Path:
    """A table of those architectures, with accuracies 0.9, 0.901, ..."""
    hashes = [bytes.fromhex(S1.architecture(p).hash()) for p in positions.tolist()]
    accuracies = 0.9 + 0.001 * np.arange(len(hashes))
    table = {"hash": pa.array(hashes, pa.binary(16)), "test_accuracy": pa.array(accuracies)}
    pq.write_table(pa.table(table), path)
    return path


def write_nb201_table(path: Path, *, epochs: int = 200) -> Path:
    names = [
        NB201.architecture(p).to_string()
        for p in select_architectures("nb201", "4").positions.tolist()
    ]
    columns = [f"cifar10_test_accuracy_{epochs}ep", "cifar10_valid_accuracy_12ep"]
    table = {"arch": names, **{name: np.arange(90.0, 94.0) for name in columns}}
    pq.write_table(pa.table(table), path)
    return path


def test_a_run_directory_has_everything_ranking_json_promises(tmp_path: Path) -> None:
    positions = select_architectures("s1", "4").positions
    table = write_s1_table(tmp_path / "t.parquet", positions)
    found = rank(job(tmp_path / "run", "synflow", seeds=(0, 1), table=str(table)), Quiet())
    out = tmp_path / "run"
    assert json.loads((out / "ranking.json").read_text()) == found
    assert [entry["name"] for entry in found["proxies"]] == [
        "num_params", "multiply_adds", "synflow",
    ]  # fmt: skip
    assert found["architectures"]["num"] == 4
    assert found["metric"]["column"] == "test_accuracy"
    with (out / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["architecture"] for row in rows] == [
        S1.architecture(p).to_string() for p in positions.tolist()
    ]
    score = np.array([float(row["synflow"]) for row in rows])
    error = np.array([float(row["error_percent"]) for row in rows])
    assert error == pytest.approx([10.0, 9.9, 9.8, 9.7])
    (entry,) = (e for e in found["proxies"] if e["name"] == "synflow")
    assert entry["spearman"]["value"] == pytest.approx(coefficient(score, 100 - error, "spearman"))
    best = rows[int(np.argmax(score))]
    assert entry["best"]["architecture"] == best["architecture"]
    for name in ("scatter.svg", "scatter.png", "deciles.svg", "deciles.png", "ranking.md"):
        assert (out / name).stat().st_size
    scores = read_scores(str(out))
    assert scores.positions.tolist() == positions.tolist()
    assert scores.by_proxy["synflow"].scores.mean(axis=0).tolist() == score.tolist()


@pytest.mark.parametrize("num_bootstrap", [0, 20])
def test_two_architectures_are_ranked(tmp_path: Path, num_bootstrap: int) -> None:
    table = write_s1_table(tmp_path / "t.parquet", select_architectures("s1", "2").positions)
    found = run_rank(
        job(tmp_path / "run", architectures="2", table=str(table), num_bootstrap=num_bootstrap),
        Quiet(),
    ).content
    for entry in found["proxies"]:
        assert entry["num_scored"] == 2
        for name in ("spearman", "kendall"):
            assert entry[name]["value"] in (1.0, -1.0, None)
    assert (tmp_path / "run" / "ranking.json").exists()
    assert (tmp_path / "run" / "deciles.png").exists()


def test_the_same_command_answers_from_the_records(tmp_path: Path, evaluated: Evaluated) -> None:
    first = rank(job(tmp_path), Quiet())
    assert len(evaluated) == 3 * 4
    evaluated.clear()
    second = rank(job(tmp_path), Quiet())
    assert evaluated == []
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_more_of_anything_evaluates_only_what_is_new(tmp_path: Path, evaluated: Evaluated) -> None:
    rank(job(tmp_path), Quiet())
    old = select_architectures("s1", "4").positions.tolist()
    evaluated.clear()
    rank(job(tmp_path, "snip"), Quiet())
    assert evaluated == [("snip", 0, p) for p in old]
    evaluated.clear()
    rank(job(tmp_path, seeds=(0, 2)), Quiet())
    assert evaluated == [("synflow", 2, p) for p in old]
    evaluated.clear()
    found = rank(job(tmp_path, architectures="6"), Quiet())
    new = [p for p in select_architectures("s1", "6").positions.tolist() if p not in old]
    names = ("num_params", "multiply_adds", "synflow")
    assert evaluated == [(name, 0, p) for name in names for p in new]
    assert all(entry["num_scored"] == 6 for entry in found["proxies"])
    evaluated.clear()
    assert rank(job(tmp_path, architectures="3"), Quiet())["proxies"][2]["num_scored"] == 3
    assert evaluated == []


CHANGES: dict[str, dict[str, Any]] = {
    "batch_size": {"batch_size": 6},
    "image_size": {"image_size": 10},
    "num_classes": {"num_classes": 3},
    "num_channels": {"num_channels": 3},
    "max_params": {"max_params": "40k", "num_channels": "auto"},
    "max_madds": {"max_madds": "4M", "num_channels": "auto"},
    "network": {"network": "supernet"},
    "init": {"init": "kaiming"},
    "loss": {"loss": "mse"},
    "dtype": {"dtype": "float64"},
    "space": {"space": "s2", "num_channels": 3},
}


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a ranking."""
    out = tmp_path_factory.mktemp("ranked") / "run"
    rank(job(out), Quiet())
    return out


@pytest.mark.parametrize("field", CHANGES)
def test_settings_that_change_scores_are_refused_by_name(
    ranked: Path, evaluated: Evaluated, field: str
) -> None:
    with pytest.raises(RecordConflictError) as error:
        rank(job(ranked, scores=CHANGES[field]), Quiet())
    assert f"{field}=" in str(error.value)
    assert "use another --out or the same settings" in str(error.value)
    assert evaluated == []


def test_a_search_and_a_ranking_do_not_share_a_directory(tmp_path: Path) -> None:
    samples = SampleConfig(space="s1", batch_size=4, image_size=8, init_channels=2, num_cells=3)
    search = SearchJob(
        samples=samples,
        estimate=EstimateConfig(num_samples=2),
        compute=ComputeSettings(num_workers=0),
        out=str(tmp_path / "search"),
    )
    run_search(search, Quiet())
    rank(job(tmp_path / "rank"), Quiet())
    taken = replace(search, out=str(tmp_path / "rank"))
    with pytest.raises(ConfigError, match="is the run directory of a `search`, not of a `rank`"):
        rank(job(tmp_path / "search"), Quiet())
    with pytest.raises(ConfigError, match="is the run directory of a `rank`, not of a `search`"):
        run_search(taken, Quiet())
    for name in ("search", "rank"):
        (tmp_path / name / "settings.yaml").unlink()
    with pytest.raises(RecordConflictError, match="holds samples, not scores"):
        rank(job(tmp_path / "search"), Quiet())
    with pytest.raises(RecordConflictError, match="holds scores, not samples"):
        run_search(taken, Quiet())


def test_a_failed_proxy_is_recorded_counted_and_not_tried_again(
    tmp_path: Path, evaluated: Evaluated
) -> None:
    cut = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    file = tmp_path / "cells"
    file.write_text(f"{cut}\n|skip_connect~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|"
                    "none~1|nor_conv_3x3~2|\n")  # fmt: skip
    asked = job(tmp_path / "run", "jacob_cov", architectures=str(file), scores={"space": "nb201"})
    progress = Quiet()
    found = rank(asked, progress)
    entry = found["proxies"][2]
    assert (entry["num_scored"], entry["num_missing"], entry["num_failed"]) == (1, 1, 1)
    assert next(iter(entry["reasons"])).startswith("jacob_cov gives no score")
    assert any(f"jacob_cov of {cut} at seed 0 failed: " in line for line in progress.messages)
    with (tmp_path / "run" / "scores.csv").open() as lines:
        assert [row["jacob_cov"] == "" for row in csv.DictReader(lines)] == [True, False]
    evaluated.clear()
    rank(asked, Quiet())
    assert evaluated == []


def test_an_exception_is_a_lost_score_that_the_next_run_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ScoreEvaluator._score
    positions = select_architectures("s1", "4").positions.tolist()

    def broken(self: ScoreEvaluator, proxy: str, architecture: Any, seed: int) -> float:
        if proxy == "synflow" and self._space.index(architecture) == positions[1]:
            raise RuntimeError("linalg:\n did not converge")
        return whole(self, proxy, architecture, seed)

    with monkeypatch.context() as patch:
        patch.setattr(ScoreEvaluator, "_score", broken)
        entry = rank(job(tmp_path), Quiet())["proxies"][2]
    assert (entry["num_scored"], entry["num_lost"], entry["num_failed"]) == (3, 1, 0)
    assert list(entry["reasons"]) == ["RuntimeError: linalg: did not converge"]
    entry = rank(job(tmp_path), Quiet())["proxies"][2]
    assert (entry["num_scored"], entry["num_lost"]) == (4, 0)


def test_memory_that_does_not_suffice_ends_the_run_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: ScoreEvaluator, *args: Any) -> float:
        raise RuntimeError("can't allocate memory: 1 TB")

    monkeypatch.setattr(ScoreEvaluator, "_score", broken)
    with pytest.raises(ConfigError, match=r"out of memory .*use a smaller batch_size"):
        rank(job(tmp_path), Quiet())


def test_a_stop_keeps_the_scores_and_says_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluated: Evaluated
) -> None:
    whole = ScoreEvaluator.__call__

    def stop_at(self: ScoreEvaluator, given: int) -> ProxyScore:
        if len(evaluated) == 10:
            raise KeyboardInterrupt
        return whole(self, given)

    with monkeypatch.context() as patch:
        patch.setattr(ScoreEvaluator, "__call__", stop_at)
        with pytest.raises(SearchStoppedError, match="stopped with 10 of 16 scores stored; run"):
            rank(job(tmp_path, "synflow", "snip"), Quiet())
    done = list(evaluated)
    rank(job(tmp_path, "synflow", "snip"), Quiet())
    assert len(evaluated) == len(set(evaluated)) == 16
    assert evaluated[:10] == done


def test_without_a_table_no_accuracy_is_made_up(tmp_path: Path) -> None:
    found = rank(job(tmp_path), Quiet())
    assert (found["table"], found["metric"], found["warnings"]) == (None, None, [])
    assert not any("spearman" in entry for entry in found["proxies"])
    assert "no accuracy is known" in (tmp_path / "ranking.md").read_text()
    assert not (tmp_path / "scatter.png").exists()


def test_a_table_is_checked_before_anything_is_evaluated(
    tmp_path: Path, evaluated: Evaluated
) -> None:
    few = write_s1_table(tmp_path / "few.parquet", select_architectures("s1", "3").positions)
    other = write_nb201_table(tmp_path / "other.parquet")
    twelve = write_nb201_table(tmp_path / "twelve.parquet", epochs=12)
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"table": str(few)}, DataError, "has no architecture .* 1 of the 4 architectures"),
        ({"table": str(other)}, DataError, "keyed by 'arch', but tables of s1 are keyed by 'hash'"),
        ({"table": str(tmp_path / "no")}, DataError, "there is no table"),
        ({"table": str(few), "metric": "x"}, UnknownNameError, "choose one of test_accuracy"),
        (
            {"table": str(twelve), "scores": {"space": "nb201"}},
            DataError,
            r"cifar10_test_accuracy_12ep \(cifar10 test .*; .*choose with --metric",
        ),
    ]
    for changes, error, message in cases:
        with pytest.raises(error, match=message):
            rank(job(tmp_path / "run", **changes), Quiet())
    assert evaluated == []
    assert not (tmp_path / "run").exists()


def test_a_metric_is_chosen_by_name(tmp_path: Path) -> None:
    table = write_nb201_table(tmp_path / "t.parquet")
    found = rank(
        job(
            tmp_path / "run",
            table=str(table),
            metric="cifar10_valid_accuracy_12ep",
            scores={"space": "nb201"},
        ),
        Quiet(),
    )
    assert (found["metric"]["split"], found["metric"]["epochs"]) == ("valid", 12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda out: job(out, "snap"), "unknown proxy 'snap'; choose one of fisher, "),
        (lambda out: job(out, architectures="0"), "architectures is 0; s1 has 2685"),
        (lambda out: job(out, seeds=()), "give one or more from 0"),
        (lambda out: job(out, seeds=(0, -1)), r"seeds is \[0, -1\]"),
        (lambda out: job(out, seeds=(10**9,)), "from 0 to 100000000"),
        (lambda out: job(out, num_bootstrap=-1), "num_bootstrap is -1"),
        (lambda out: job(out, metric="x"), "metric is 'x' without a table"),
        (lambda out: job(out, scores={"labels": "true"}), "labels is 'true' and data is 'random'"),
        (
            lambda out: job(out, scores={"network": "supernet", "num_cells": 2}),
            "num_cells is 2; s1 needs at least 3",
        ),
        (lambda out: job(out, scores={"data": str(out / "no")}), "no such file"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_a_run_begins(
    tmp_path: Path, make: Callable[[Path], RankJob], message: str
) -> None:
    with pytest.raises((ConfigError, DataError, UnknownNameError), match=message):
        rank(make(tmp_path / "run"), Quiet())
    assert not (tmp_path / "run" / "identity.json").exists()


def test_all_proxies_are_asked_for_by_one_word(tmp_path: Path, evaluated: Evaluated) -> None:
    config = {"batch_size": 2, "num_classes": 2}
    found = rank(job(tmp_path, "all", architectures="1", scores=config), Quiet())
    assert {entry["name"] for entry in found["proxies"]} == set(PROXIES)
    assert len(evaluated) == len(PROXIES)


def test_real_images_are_decoded_only_if_something_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = make_folder(tmp_path / "images")
    asked = job(tmp_path / "run", scores={"data": str(images)})
    found = rank(asked, Quiet())
    assert found["settings"]["num_classes"] == 2

    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("images were decoded")

    monkeypatch.setattr(evaluation, "open_images", refuse)
    assert rank(asked, Quiet())["settings"] == found["settings"]


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    with LocalStorage(tmp_path).lock(), pytest.raises(RunLockedError):
        rank(job(tmp_path), Quiet())


def test_files_that_cannot_be_written_keep_the_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluated: Evaluated
) -> None:
    write = LocalStorage.write

    def full(self: LocalStorage, name: str, data: bytes) -> None:
        if name == "ranking.json":
            raise StorageError("No space left")
        write(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "write", full)
        with pytest.raises(StorageError, match="No space left; the scores are stored: run"):
            rank(job(tmp_path), Quiet())
    evaluated.clear()
    rank(job(tmp_path), Quiet())
    assert evaluated == []


def test_many_parts_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasi_ray.records.store._MAX_PARTS", 1)
    for count in ("2", "3", "4"):
        rank(job(tmp_path, architectures=count), Quiet())
    assert len(list((tmp_path / "scores" / "synflow").iterdir())) == 1


def test_the_default_directory_is_named_after_the_settings() -> None:
    names = {
        RankJob(scores=replace(TINY, **changes)).run_uri
        for changes in ({}, {"batch_size": 8}, {"space": "nb201"})
    }
    assert len(names) == 3
    assert any(name.startswith("runs/rank-nb201-") for name in names)
    assert RankJob(scores=TINY, seeds=(4,)).run_uri in names


def test_identity_has_every_setting_that_changes_a_score() -> None:
    identity = identity_of(TINY)
    left_out = set(TINY.__dataclass_fields__) - set(identity)
    data_options = {"split": "test", "image_column": "a", "label_column": "b", "skip_broken": True}
    limits = {"max_params", "max_madds"}
    # As in runs from before there were any.
    assert left_out == {"num_cells", *data_options, *limits}
    for name, value in data_options.items():
        changes: dict[str, Any] = {name: value}
        assert identity_of(replace(TINY, data="CIFAR10", **changes))[name] == value
    identity = identity_of(replace(TINY, network="supernet"))
    assert identity["num_cells"] == 9


def answers(run: Path) -> list[list[str]]:
    """The highest ranked architectures of every answer that is kept."""
    found = [json.loads(path.read_text()) for path in (run / "answers").iterdir()]
    return [
        sorted(row["architecture"] for row in one["proxies"][-1]["highest_ranked"]) for one in found
    ]


def test_other_architectures_as_many_have_an_answer_of_their_own(tmp_path: Path) -> None:
    run = tmp_path / "run"
    rank(job(run, subset_seed=1), Quiet())
    (first,) = answers(run)
    rank(job(run, subset_seed=2), Quiet())
    assert len(answers(run)) == 2
    assert first in answers(run)
    rank(job(run, subset_seed=1), Quiet())
    assert len(answers(run)) == 2


def test_a_file_that_lists_other_architectures_has_an_answer_of_its_own(tmp_path: Path) -> None:
    run, listed = tmp_path / "run", tmp_path / "list.txt"
    positions = select_architectures("s1", "4").positions.tolist()
    names = [S1.architecture(position).to_string() for position in positions]
    for given in (names[:2], names[2:], names[:2]):
        listed.write_text("\n".join(given))
        rank(job(run, architectures=str(listed)), Quiet())
    assert sorted(answers(run)) == sorted([sorted(names[:2]), sorted(names[2:])])


def test_accuracies_of_another_table_have_an_answer_of_their_own(tmp_path: Path) -> None:
    positions = select_architectures("s1", "4").positions
    for name, order in (("one", positions), ("other", positions[::-1]), ("one", positions)):
        table = write_s1_table(tmp_path / f"{name}.parquet", order)
        rank(job(tmp_path / "run", table=str(table)), Quiet())
    assert len(answers(tmp_path / "run")) == 2
