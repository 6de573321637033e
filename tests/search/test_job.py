from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nasi_ray import estimate, read_run
from nasi_ray.config import ComputeSettings, EstimateConfig, SampleConfig
from nasi_ray.errors import (
    ConfigError,
    DataError,
    NasiRayError,
    RecordConflictError,
    RunLockedError,
    StorageError,
)
from nasi_ray.nasi import evaluator as evaluate
from nasi_ray.nasi.evaluator import lost_sample
from nasi_ray.progress import Progress
from nasi_ray.records.rows import Sample
from nasi_ray.run import compute as evaluation
from nasi_ray.run.compute import Session
from nasi_ray.runner import InProcessRunner
from nasi_ray.search.job import plan_search, run_search
from nasi_ray.search.settings import SearchJob
from nasi_ray.spaces import Genotype, get_space
from nasi_ray.storage import LocalStorage
from tests.toy import Quiet, toy_sample

pytestmark = pytest.mark.usefixtures("blank_pictures")

TINY = SampleConfig(batch_size=4, image_size=8, init_channels=2, num_cells=3)


def identity_of(samples: SampleConfig) -> dict[str, Any]:
    plan = plan_search(SearchJob(samples=samples))
    return plan.fresh_identity({"data": "random"}, "cpu", "2.14.1")


def search(job: SearchJob, progress: Progress) -> dict[str, Any]:
    """The content of ``result.json``."""
    return run_search(job, progress).to_dict()


def job(out: Path, num_samples: int = 4, **changes: Any) -> SearchJob:
    samples = replace(TINY, **changes.pop("samples", {}))
    estimate = EstimateConfig(num_samples=num_samples, **changes)
    compute = ComputeSettings(num_workers=0)
    return SearchJob(samples=samples, estimate=estimate, compute=compute, out=str(out))


def make_folder(path: Path, num_per_class: int = 6, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for name in ("cat", "dog"):
        (path / name).mkdir(parents=True)
        for i in range(num_per_class):
            pixels = rng.integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / name / f"{i}.png")
    return path


@pytest.fixture(scope="module")
def three_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a search."""
    out = tmp_path_factory.mktemp("three") / "run"
    search(job(out, 3), Quiet())
    return out


def test_a_run_directory_has_everything_result_json_promises(tmp_path: Path) -> None:
    result = search(job(tmp_path), Quiet())
    stored = json.loads((tmp_path / "result.json").read_text())
    assert stored == result
    assert stored["space"] == "darts"
    assert stored["seed"] == 0
    assert (stored["method"], stored["nu"], stored["mu"]) == ("fix", 100.0, 2.0)
    assert stored["num_samples"] == 4
    assert sum(len(logits) for logits in stored["alpha"].values()) == 84
    assert set(stored["versions"]) >= {"nasi_ray", "torch", "ray", "python"}
    genotype = Genotype.from_json((tmp_path / "genotype.json").read_text())
    assert genotype.to_dict() == stored["genotype"]
    assert (tmp_path / "cell.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "cell.svg").read_text().lstrip().startswith("<?xml")
    assert list((tmp_path / "samples").glob("*.parquet"))


def test_alpha_in_json_is_that_of_the_records_bit_for_bit(tmp_path: Path) -> None:
    search(job(tmp_path), Quiet())
    stored = json.loads((tmp_path / "result.json").read_text())
    table, _ = read_run(str(tmp_path))
    alpha = estimate(table, EstimateConfig(num_samples=4)).alpha
    assert np.concatenate(list(stored["alpha"].values())).tobytes() == alpha.tobytes()


def test_other_estimates_are_answered_without_evaluating(
    tmp_path: Path, evaluated: list[int]
) -> None:
    search(job(tmp_path, 5), Quiet())
    assert sorted(evaluated) == [0, 1, 2, 3, 4]
    evaluated.clear()
    ada = search(job(tmp_path, 5, method="ada", nu=500.0, mu=1.0, xi=2.0), Quiet())
    fewer = search(job(tmp_path, 3, pairing="shared-op"), Quiet())
    assert evaluated == []
    assert len(ada["nu"]) == 5
    assert fewer["num_samples"] == 3


def test_more_samples_extend_the_records(tmp_path: Path, evaluated: list[int]) -> None:
    search(job(tmp_path, 3), Quiet())
    parts = {p: p.read_bytes() for p in (tmp_path / "samples").glob("*.parquet")}
    evaluated.clear()
    extended = search(job(tmp_path, 6), Quiet())
    assert sorted(evaluated) == [3, 4, 5]
    assert all(path.read_bytes() == data for path, data in parts.items())
    at_once = search(job(tmp_path / "other", 6), Quiet())
    assert extended["alpha"] == at_once["alpha"]


def test_nu_auto_uses_the_mean_of_fifty_random_architectures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    indices: list[int] = []

    def evaluate_one(index: int) -> Sample:
        indices.append(index)
        return toy_sample(index)

    monkeypatch.setattr(
        Session, "runner", lambda *_, **__: contextlib.nullcontext(InProcessRunner(evaluate_one))
    )
    result = search(job(tmp_path, 2, nu="auto"), Quiet())
    assert sorted(indices) == list(range(50))
    stored, _ = read_run(str(tmp_path))
    assert len(stored) == 50
    assert result["nu"] == pytest.approx(np.mean(stored.trace_norm), rel=1e-12)


def test_settings_that_change_samples_are_refused_by_name(tmp_path: Path) -> None:
    search(job(tmp_path), Quiet())
    with pytest.raises(RecordConflictError) as caught:
        search(job(tmp_path, samples={"seed": 1, "batch_size": 5}), Quiet())
    message = str(caught.value)
    assert "\n" not in message
    assert "batch_size=4" in message
    assert "batch_size=5" in message
    assert "seed=0" in message
    assert "seed=1" in message
    assert "loss" not in message


def test_the_default_directory_follows_from_the_sample_settings() -> None:
    assert SearchJob(samples=TINY).run_uri == SearchJob(samples=TINY).run_uri
    other = replace(TINY, loss="mse")
    assert SearchJob(samples=other).run_uri != SearchJob(samples=TINY).run_uri
    assert SearchJob(samples=TINY).run_uri.startswith("runs/darts-seed0-")


def test_runs_from_before_a_setting_was_added_stay_what_they_are() -> None:
    # Named by the version that did not have init_per.
    assert SearchJob(samples=SampleConfig()).run_uri == "runs/darts-seed0-c427dcb9"
    settings = identity_of(SampleConfig())
    assert "init_per" not in settings
    anew = identity_of(SampleConfig(init_per="sample"))
    assert anew == {**settings, "init_per": "sample"}


def test_other_data_are_refused_before_ray_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    search(job(out, samples={"data": str(make_folder(tmp_path / "a"))}), Quiet())

    def connect(*_: Any) -> Any:
        raise AssertionError("Ray would be started")

    monkeypatch.setattr("nasi_ray.pool.connection.connect", connect)
    other = job(out, samples={"data": str(make_folder(tmp_path / "b", seed=1))})
    on_ray = replace(other, compute=ComputeSettings(num_workers=2))
    with pytest.raises(RecordConflictError, match='made with data="sha256:'):
        search(on_ray, Quiet())


def test_the_same_data_under_another_path_are_the_same_data(
    tmp_path: Path, evaluated: list[int]
) -> None:
    first, second = make_folder(tmp_path / "a"), make_folder(tmp_path / "b")
    other = make_folder(tmp_path / "c", seed=1)
    out = tmp_path / "run"
    search(job(out, samples={"data": str(first)}), Quiet())
    evaluated.clear()
    search(job(out, samples={"data": str(second)}), Quiet())
    assert evaluated == []
    with pytest.raises(RecordConflictError, match="data="):
        search(job(out, samples={"data": str(other)}), Quiet())


def test_complete_records_are_answered_without_reading_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path / "a")
    out = tmp_path / "run"
    before = search(job(out, samples={"data": str(folder)}), Quiet())

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("images were read")

    monkeypatch.setattr(evaluation, "open_images", refuse)
    again = search(job(out, samples={"data": str(folder)}), Quiet())
    assert again["alpha"] == before["alpha"]


def test_a_batch_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", num_per_class=1)
    with pytest.raises(DataError, match="at most 2"):
        search(job(tmp_path / "run", samples={"data": str(folder)}), Quiet())


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    with (
        LocalStorage(str(tmp_path)).lock(),
        pytest.raises(RunLockedError, match="pid"),
    ):
        search(job(tmp_path), Quiet())


def test_cuda_where_there_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="sees no GPU"):
        search(job(tmp_path, samples={"device": "cuda"}), Quiet())


@pytest.mark.parametrize(
    "changes",
    [
        {"sample_per": "cell"},
        {"loss": "mse"},
        {"seed": 7},
        {"temperature": 0.5},
        {"dtype": "float64"},
        {"num_cells": 4},
    ],
)
def test_every_sample_setting_has_an_effect(
    tmp_path: Path, three_samples: Path, changes: dict[str, Any]
) -> None:
    plain = json.loads((three_samples / "result.json").read_text())
    changed = search(job(tmp_path, 3, samples=changes), Quiet())
    assert plain["alpha"] != changed["alpha"]


@pytest.mark.parametrize("space", ["s1", "s2", "s3", "nb201"])
def test_tabular_spaces_are_searched_by_the_same_job(tmp_path: Path, space: str) -> None:
    result = search(job(tmp_path, 3, samples={"space": space}), Quiet())
    stored = json.loads((tmp_path / "result.json").read_text())
    assert stored == result
    assert "genotype" not in stored
    architecture = get_space(space).parse(stored["architecture"])  # type: ignore[attr-defined]
    assert architecture.to_string() == stored["architecture"]
    if space != "nb201":
        assert stored["hash"] == architecture.hash()
    assert (tmp_path / "cell.png").exists()
    assert (tmp_path / "cell.svg").exists()


def test_a_broken_price_list_is_told_before_anything_is_evaluated(
    tmp_path: Path, evaluated: list[int]
) -> None:
    prices = tmp_path / "prices.json"
    prices.write_text('{"gpu": "cheap"}')
    plain = job(tmp_path / "run")
    priced = replace(plain, compute=replace(plain.compute, price_list=str(prices)))
    with pytest.raises(ConfigError, match="a price is a number"):
        search(priced, Quiet())
    assert evaluated == []
    prices.write_text('{"local": 0.5}')
    result = search(priced, Quiet())
    assert result["cost"].startswith("cost: ")


ALL_CHANGES: dict[str, Any] = {
    "space": "s1",
    "seed": 1,
    "labels": "random",
    "batch_size": 5,
    "image_size": 9,
    "num_classes": 11,
    "init_channels": 3,
    "num_cells": 4,
    "init": "ntk",
    "init_per": "sample",
    "batch_norm": "plain",
    "sample_per": "cell",
    "loss": "mse",
    "temperature": 2.0,
    "dtype": "float64",
}
NO_CHANGE = {"labels"}
"""Of random data there are only random labels."""


OF_DATA_SETS = {"split", "image_column", "label_column", "skip_broken"}
"""What has no meaning for random data; ``tests/data/test_options.py`` tests it."""


def test_every_sample_setting_is_in_the_table_above() -> None:
    names = {field.name for field in fields(SampleConfig)}
    assert set(ALL_CHANGES) == names - {"data", "augment", "device", *OF_DATA_SETS}


@pytest.mark.parametrize("num_samples", [3, 5])
@pytest.mark.parametrize("name", sorted(set(ALL_CHANGES) - NO_CHANGE))
def test_no_changed_setting_is_answered_from_other_samples(
    three_samples: Path, name: str, num_samples: int
) -> None:
    before = {path: path.read_bytes() for path in three_samples.rglob("*.*")}
    with pytest.raises(RecordConflictError, match=f"{name}="):
        search(job(three_samples, num_samples, samples={name: ALL_CHANGES[name]}), Quiet())
    assert {path: path.read_bytes() for path in three_samples.rglob("*.*")} == before


def test_a_relative_path_is_the_directory_it_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    for seed, name in enumerate(("x", "y")):
        make_folder(tmp_path / name / "images", seed=seed)
    monkeypatch.chdir(tmp_path / "x")
    search(job(out, samples={"data": "images"}), Quiet())
    default = SearchJob(samples=replace(TINY, data="images")).run_uri
    monkeypatch.chdir(tmp_path / "y")
    with pytest.raises(RecordConflictError, match="data="):
        search(job(out, samples={"data": "images"}), Quiet())
    assert SearchJob(samples=replace(TINY, data="images")).run_uri != default


def test_a_file_that_changed_is_looked_at(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a")
    out = tmp_path / "run"
    search(job(out, samples={"data": str(folder)}), Quiet())
    Image.new("RGB", (8, 8), "red").save(folder / "cat" / "0.png")
    with pytest.raises(RecordConflictError, match="data="):
        search(job(out, samples={"data": str(folder)}), Quiet())


def test_advice_that_is_followed_works_in_the_same_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = make_folder(tmp_path / "a", num_per_class=1), tmp_path / "run"
    with pytest.raises(DataError):
        search(job(out, samples={"data": str(folder)}), Quiet())
    search(job(out, samples={"data": str(folder), "batch_size": 2}), Quiet())
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError):
        search(job(tmp_path / "b", samples={"device": "cuda"}), Quiet())
    search(job(tmp_path / "b", samples={"device": "cpu"}), Quiet())


def test_other_threads_are_other_samples_and_another_default_directory(tmp_path: Path) -> None:
    one = job(tmp_path)
    two = replace(one, compute=replace(one.compute, threads_per_worker=2))
    search(one, Quiet())
    with pytest.raises(RecordConflictError, match="threads_per_worker=1"):
        search(two, Quiet())
    assert replace(one, out="").run_uri != replace(two, out="").run_uri


def test_a_search_in_which_every_sample_fails_ends_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def infinite(*args: Any, **kwargs: Any) -> Any:
        return torch.tensor(float("inf"), dtype=torch.float64), {}

    monkeypatch.setattr(evaluate, "trace_norm_and_gradient", infinite)
    progress = Quiet()
    with pytest.raises(NasiRayError, match=r"the first 20 samples all failed.*choices \["):
        search(job(tmp_path, 1000), progress)
    assert len([m for m in progress.messages if "failed: " in m]) == 5


def test_a_disk_that_fills_at_the_result_keeps_the_samples_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluated: list[int]
) -> None:
    write = LocalStorage.write

    def full(self: LocalStorage, name: str, data: bytes) -> None:
        if name == "result.json":
            raise StorageError("disk full")
        write(self, name, data)

    monkeypatch.setattr(LocalStorage, "write", full)
    with pytest.raises(StorageError, match="disk full; the samples are stored"):
        search(job(tmp_path), Quiet())
    assert not (tmp_path / "genotype.json").exists()
    monkeypatch.setattr(LocalStorage, "write", write)
    evaluated.clear()
    search(job(tmp_path), Quiet())
    assert evaluated == []


def test_many_parts_are_merged_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasi_ray.records.store._MAX_PARTS", 1)
    before = search(job(tmp_path, 2), Quiet())
    search(job(tmp_path, 4), Quiet())
    assert len(list((tmp_path / "samples").glob("*.parquet"))) == 1
    assert search(job(tmp_path, 2), Quiet())["alpha"] == before["alpha"]


def test_a_search_on_cpus_asks_for_no_gpu(tmp_path: Path) -> None:
    wanted = job(tmp_path, samples={"device": "cpu"})
    assert plan_search(wanted).compute.gpus_per_worker == 0
    search(wanted, Quiet())
    resumed = plan_search(job(tmp_path))
    assert (resumed.device, resumed.compute.gpus_per_worker) == ("cpu", 0)


def test_unlike_devices_may_differ_and_like_ones_may_not() -> None:
    progress, one = Quiet(), toy_sample(3)
    for worker, is_same in (("h/1/cpu AVX512", False), ("h/2/NVIDIA A10G", True)):
        first = replace(one, worker="h/9/cpu AVX512")
        other = replace(one, trace_norm=one.trace_norm + 1, worker=worker)
        assert evaluation.is_same(progress, "sample", evaluate.same_sample, first, other) is is_same
    assert evaluation.is_same(progress, "sample", evaluate.same_sample, one, one)
    assert len(progress.messages) == 1


def test_kept_margins_are_between_the_second_and_the_third(tmp_path: Path) -> None:
    result = search(job(tmp_path), Quiet())
    ops = sorted(result["alpha"]["normal/node0/op"], reverse=True)
    assert result["kept_margins"]["normal/node0/op"] == ops[1] - ops[2]
    assert "normal/node0/input" not in result["kept_margins"]  # both inputs are kept
    assert set(result["kept_margins"]) == set(result["kept_margin_errors"])


def test_samples_that_were_lost_are_listed_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad(index: int) -> Sample:
        return lost_sample("darts", index, "6 attempts failed") if index == 2 else toy_sample(index)

    def runner_of(evaluate: Callable[[int], Sample]) -> Callable[..., Any]:
        return lambda *_, **__: contextlib.nullcontext(InProcessRunner(evaluate))

    with monkeypatch.context() as patch:
        patch.setattr(Session, "runner", runner_of(bad))
        result = search(job(tmp_path), Quiet())
    assert result["lost"] == [2]
    assert result["failed"] == {"2": "6 attempts failed"}
    assert json.loads((tmp_path / "result.json").read_text())["lost"] == [2]
    assert search(job(tmp_path, 2), Quiet())["lost"] == []
    monkeypatch.setattr(Session, "runner", runner_of(toy_sample))
    assert search(job(tmp_path), Quiet())["lost"] == []
