from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasi_ray.config import EstimateConfig, SampleConfig, WorkerConfig
from nasi_ray.errors import ConfigError, DataError, RecordConflictError, RunLockedError
from nasi_ray.launch import search as launch
from nasi_ray.launch.search import SearchJob, run_search
from nasi_ray.nasi import evaluate
from nasi_ray.records import Sample
from nasi_ray.spaces import Genotype, get_space
from nasi_ray.storage import LocalStorage
from tests.toy import Quiet

TINY = SampleConfig(batch_size=4, image_size=8, init_channels=2, num_cells=3)


def job(out: Path, num_samples: int = 4, **changes: Any) -> SearchJob:
    samples = replace(TINY, **changes.pop("samples", {}))
    estimate = EstimateConfig(num_samples=num_samples, **changes)
    workers = WorkerConfig(num_workers=0)
    return SearchJob(samples=samples, estimate=estimate, workers=workers, out=str(out))


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Indices in the order in which they were evaluated."""
    indices: list[int] = []
    call = evaluate.Evaluator.__call__

    def spy(self: evaluate.Evaluator, index: int) -> Sample:
        indices.append(index)
        return call(self, index)

    monkeypatch.setattr(evaluate.Evaluator, "__call__", spy)
    return indices


def make_folder(path: Path, num_per_class: int = 6, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for name in ("cat", "dog"):
        (path / name).mkdir(parents=True)
        for i in range(num_per_class):
            pixels = rng.integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / name / f"{i}.png")
    return path


def test_a_run_directory_has_everything_result_json_promises(tmp_path: Path) -> None:
    result = run_search(job(tmp_path), Quiet())
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


def test_alpha_survives_json_bit_for_bit(tmp_path: Path) -> None:
    result = run_search(job(tmp_path), Quiet())
    stored = json.loads((tmp_path / "result.json").read_text())
    assert stored["alpha"] == result["alpha"]


def test_other_estimates_are_answered_without_evaluating(
    tmp_path: Path, evaluated: list[int]
) -> None:
    run_search(job(tmp_path, 5), Quiet())
    assert sorted(evaluated) == [0, 1, 2, 3, 4]
    evaluated.clear()
    ada = run_search(job(tmp_path, 5, method="ada", nu=500.0, mu=1.0, xi=2.0), Quiet())
    fewer = run_search(job(tmp_path, 3, pairing="shared-op"), Quiet())
    assert evaluated == []
    assert len(ada["nu"]) == 5
    assert fewer["num_samples"] == 3


def test_more_samples_extend_the_records(tmp_path: Path, evaluated: list[int]) -> None:
    run_search(job(tmp_path, 3), Quiet())
    parts = {p: p.read_bytes() for p in (tmp_path / "samples").glob("*.parquet")}
    evaluated.clear()
    extended = run_search(job(tmp_path, 6), Quiet())
    assert sorted(evaluated) == [3, 4, 5]
    assert all(path.read_bytes() == data for path, data in parts.items())
    at_once = run_search(job(tmp_path / "other", 6), Quiet())
    assert extended["alpha"] == at_once["alpha"]


def test_nu_auto_uses_the_mean_of_fifty_random_architectures(
    tmp_path: Path, evaluated: list[int]
) -> None:
    result = run_search(job(tmp_path, 2, nu="auto"), Quiet())
    assert sorted(evaluated) == list(range(50))
    evaluator = evaluate.Evaluator(TINY, None, device="cpu")
    expected = np.mean([evaluator(i).trace_norm for i in range(50)])
    assert result["nu"] == pytest.approx(expected, rel=1e-12)


def test_settings_that_change_samples_are_refused_by_name(tmp_path: Path) -> None:
    run_search(job(tmp_path), Quiet())
    with pytest.raises(RecordConflictError) as caught:
        run_search(job(tmp_path, samples={"seed": 1, "batch_size": 5}), Quiet())
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


def test_the_same_data_under_another_path_are_the_same_data(
    tmp_path: Path, evaluated: list[int]
) -> None:
    first, second = make_folder(tmp_path / "a"), make_folder(tmp_path / "b")
    other = make_folder(tmp_path / "c", seed=1)
    out = tmp_path / "run"
    run_search(job(out, samples={"data": str(first)}), Quiet())
    evaluated.clear()
    run_search(job(out, samples={"data": str(second)}), Quiet())
    assert evaluated == []
    with pytest.raises(RecordConflictError, match="data="):
        run_search(job(out, samples={"data": str(other)}), Quiet())


def test_complete_records_are_answered_without_reading_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path / "a")
    out = tmp_path / "run"
    before = run_search(job(out, samples={"data": str(folder)}), Quiet())

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("images were read")

    monkeypatch.setattr(launch, "load_images", refuse)
    again = run_search(job(out, samples={"data": str(folder)}), Quiet())
    assert again["alpha"] == before["alpha"]


def test_a_batch_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", num_per_class=1)
    with pytest.raises(DataError, match=r"\b4\b.*\b2\b|\b2\b.*\b4\b"):
        run_search(job(tmp_path / "run", samples={"data": str(folder)}), Quiet())


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    with (
        LocalStorage(str(tmp_path)).lock(),
        pytest.raises(RunLockedError, match="pid"),
    ):
        run_search(job(tmp_path), Quiet())


def test_cuda_where_there_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="sees no GPU"):
        run_search(job(tmp_path, samples={"device": "cuda"}), Quiet())


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
def test_every_sample_setting_has_an_effect(tmp_path: Path, changes: dict[str, Any]) -> None:
    plain = run_search(job(tmp_path / "a", 2), Quiet())
    changed = run_search(job(tmp_path / "b", 2, samples=changes), Quiet())
    assert plain["alpha"] != changed["alpha"]


@pytest.mark.parametrize("space", ["s1", "s2", "s3", "nb201"])
def test_tabular_spaces_are_searched_by_the_same_job(tmp_path: Path, space: str) -> None:
    result = run_search(job(tmp_path, 3, samples={"space": space}), Quiet())
    stored = json.loads((tmp_path / "result.json").read_text())
    assert stored == result
    assert "genotype" not in stored
    architecture = get_space(space).parse(stored["architecture"])  # type: ignore[attr-defined]
    assert architecture.to_string() == stored["architecture"]
    if space != "nb201":
        assert stored["hash"] == architecture.hash()
    assert not (tmp_path / "cell.png").exists()


def test_a_broken_price_list_is_told_before_anything_is_evaluated(
    tmp_path: Path, evaluated: list[int]
) -> None:
    prices = tmp_path / "prices.json"
    prices.write_text('{"gpu": "cheap"}')
    with pytest.raises(ConfigError, match="a price is a number"):
        run_search(replace(job(tmp_path / "run"), price_list=str(prices)), Quiet())
    assert evaluated == []
    prices.write_text('{"local": 0.5}')
    result = run_search(replace(job(tmp_path / "run"), price_list=str(prices)), Quiet())
    assert result["cost"].startswith("cost: ")
