"""What a sweep leaves for TensorBoard, and what services are sent of searches."""

from __future__ import annotations

import dataclasses
import io
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

import nasi_ray
from nasi_ray.config import ComputeSettings, EstimateConfig, SampleConfig
from nasi_ray.finalists.job import plan_finalists, run_finalists
from nasi_ray.run.tracking import TrackConfig
from nasi_ray.search import figures
from nasi_ray.search.settings import FinalistConfig
from nasi_ray.sweep.job import run_sweep
from nasi_ray.tables.tfrecord import read_records
from nasi_ray.training import images
from nasi_ray.training.recipes import RECIPES
from tests.run.tracked import mlflow_runs, use_offline
from tests.sweep.test_job import TINY, job, sweep
from tests.toy import Quiet

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("blank_pictures")]

FINAL = ("num_samples", "num_failed", "num_params", "multiply_adds", "sample_seconds")


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow writes into a folder."""
    use_offline(monkeypatch, tmp_path / "services")


def events(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scalars by name, and the settings of the tab HParams."""
    scalars: dict[str, Any] = defaultdict(list)
    settings: dict[str, Any] = {}
    for record in read_records(io.BytesIO(data)):
        event = Event.FromString(record.data)
        for value in event.summary.value:
            if value.tag == "_hparams_/session_start_info":
                content = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                given = content.session_start_info.hparams.items()
                settings = {k: v.string_value or v.number_value for k, v in given}
            elif value.HasField("simple_value"):
                scalars[value.tag].append((event.step, value.simple_value))
    return dict(scalars), settings


def test_each_search_is_a_run_of_tensorboard(tmp_path: Path) -> None:
    result = sweep(tmp_path, seeds=[0, 1], set=["init=ntk,default"])
    names = {f"init={init},seed={seed}" for init in ("ntk", "default") for seed in (0, 1)}
    folders = {path.name: path for path in (tmp_path / "tensorboard").iterdir()}
    assert folders.keys() == names
    search = result.searches[1][0]
    assert search is not None
    (path,) = folders["init=default,seed=0"].iterdir()
    scalars, settings = events(path.read_bytes())
    assert settings == {"init": "default", "seed": 0}
    assert {name: scalars[name] for name in FINAL} == {
        name: [(6, pytest.approx(search.content[name], rel=1e-6))] for name in FINAL
    }
    measured = search.records.measurements["path"].values
    for name, values in measured.items():
        means = np.cumsum(values) / np.arange(1, 7)
        assert scalars[f"mean_{name}"] == [
            (step, pytest.approx(mean, rel=1e-5)) for step, mean in enumerate(means, start=1)
        ]


def test_more_seeds_add_runs_of_tensorboard_and_the_others_stay(tmp_path: Path) -> None:
    sweep(tmp_path, seeds=[0])
    (path,) = (tmp_path / "tensorboard" / "seed=0").iterdir()
    before = events(path.read_bytes())
    sweep(tmp_path, seeds=[0, 7])
    assert {p.name for p in (tmp_path / "tensorboard").iterdir()} == {"seed=0", "seed=7"}
    assert events(path.read_bytes()) == before


def test_long_searches_have_no_more_points_than_a_screen() -> None:
    rows = figures._rows(100_000)
    assert len(rows) == 200
    assert (rows[0], rows[-1]) == (0, 99_999)
    assert figures._rows(3).tolist() == [0, 1, 2]


def test_failed_samples_do_not_count_in_the_means(tmp_path: Path) -> None:
    settings = {k: v for k, v in TINY.items() if k != "seeds"}
    result = nasi_ray.search(preset="nasi-fix", out=str(tmp_path), progress=None, **settings)
    table = result.table
    assert table is not None
    ok = table.ok.copy()
    ok[0] = ok[3] = False
    records = dataclasses.replace(result.records, samples=dataclasses.replace(table, ok=ok))
    curve = figures.curve_of(dataclasses.replace(result, records=records))
    good = np.where(ok, table.trace_norm, np.nan)
    assert [step for step, _ in curve] == [2, 3, 4, 5, 6]
    for step, found in curve:
        assert found == {"mean_e": pytest.approx(np.nanmean(good[:step]))}


@pytest.mark.usefixtures("mlflow")
def test_each_search_of_a_sweep_is_sent_once(tmp_path: Path) -> None:
    asked = job(tmp_path / "many", seeds=[0, 1], set=["num_samples=3,6"], track=["mlflow"])
    result = run_sweep(asked, Quiet())
    sent = mlflow_runs()
    assert len(sent) == 4
    assert {one.group for one in sent} == {"many"}
    assert sorted((one.settings["seed"], one.settings["num_samples"]) for one in sent) == [
        ("0", "3"), ("0", "6"), ("1", "3"), ("1", "6"),
    ]  # fmt: skip
    for one in sent:
        point, seed = int(one.settings["num_samples"]) == 6, int(one.settings["seed"])
        search = result.searches[point][seed]
        assert search is not None
        assert one.is_done
        assert one.steps == list(range(1, search.num_samples + 1))
        assert one.summary["architecture"] == search.architecture.to_string()
        assert {name: one.summary[name] for name in FINAL} == {
            name: search.content[name] for name in FINAL
        }
    run_sweep(asked, Quiet())
    assert mlflow_runs() == sent


@pytest.mark.usefixtures("mlflow")
def test_a_search_is_sent_and_it_is_the_same_search(tmp_path: Path, evaluated: list[int]) -> None:
    settings = {k: v for k, v in TINY.items() if k != "seeds"} | {"progress": None}
    out = str(tmp_path / "run")
    nasi_ray.search(out=out, **settings)
    evaluated.clear()
    result = nasi_ray.search(out=out, track=["mlflow"], project="mine", **settings)
    nasi_ray.search(out=out, track=["mlflow"], project="mine", **settings)
    assert evaluated == []
    (sent,) = mlflow_runs("mine")
    assert (sent.name, sent.group, sent.is_done) == ("run", "", True)
    assert sent.summary["num_params"] == result.content["num_params"]
    assert sent.settings["space"] == "nb201"


@pytest.mark.usefixtures("mlflow")
def test_finalists_are_sent_with_how_they_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = dataclasses.replace(
        RECIPES["quick"], init_channels=2, image_size=8, epochs=4, batch_size=16,
        num_train_images=32,
    )  # fmt: skip
    monkeypatch.setitem(RECIPES, "quick", recipe)
    monkeypatch.setitem(images._NUM_RANDOM, "train", 200)
    settings = {k: v for k, v in TINY.items() if k != "seeds"}
    result = nasi_ray.search(out=str(tmp_path / "run"), progress=None, **settings)
    samples = SampleConfig(space="nb201", data="random", image_size=8)
    compute = ComputeSettings(num_workers=0)
    estimate = EstimateConfig(objective="panel", estimator="score-function", num_samples=6)
    final, told = FinalistConfig(finalists=3), TrackConfig(track=("mlflow",))
    # Random images are refused before a search, since nothing follows from them.
    plan = plan_finalists(
        dataclasses.replace(final, finalists_table=""),
        dataclasses.replace(samples, data="CIFAR10"), estimate, compute, told,
    )  # fmt: skip
    assert plan is not None
    plan = dataclasses.replace(plan, samples=samples, estimate=estimate)
    found = run_finalists(plan, [result], result.uri, Quiet())
    sent = mlflow_runs()
    assert {one.group for one in sent} == {"finalists"}
    cells = {Path(cell["run"]).name: cell for cell in found.content["cells"]}
    assert {one.name for one in sent} == cells.keys()
    for one in sent:
        cell = cells[one.name]
        assert one.steps == list(range(1, cell["epochs"] + 1))
        assert one.points[-1][1]["top1"] == cell["valid_accuracy"]
        assert (one.summary.get("ended") == "stopped early") == cell["is_stopped"]
    assert json.loads((tmp_path / "run" / "finalists.json").read_text())["finalists"] == 3
