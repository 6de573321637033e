"""The training job in this process."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pytest
import torch
from torch import nn

import nasi_ray
from nasi_ray.errors import (
    ConfigError,
    DataError,
    InvalidGenotypeError,
    RecordConflictError,
    RecordCorruptError,
    SearchStoppedError,
    StorageError,
    TrainingError,
)
from nasi_ray.pool import nodes
from nasi_ray.progress import ProgressState
from nasi_ray.run.subject import read_subject
from nasi_ray.spaces import get_tabular_space
from nasi_ray.storage import LocalStorage
from nasi_ray.training import checkpoints, job, loop
from nasi_ray.training import plan as planning
from nasi_ray.training.images import load_train_images, random_images
from nasi_ray.training.link import LocalLink
from nasi_ray.training.loop import TrainPlan
from nasi_ray.training.metrics import COLUMNS, read_metrics
from nasi_ray.training.state import TrainState
from nasi_ray.training.text import result_line
from nasi_ray.training.world import World
from tests.toy import Quiet
from tests.training.trainings import (
    CELL,
    TINY,
    TRAINED,
    figures,
    final_state,
    is_equal,
    tiny,
    train,
)

EVERYTHING: dict[str, Any] = {
    "drop_path": 0.3, "auxiliary_weight": 0.4, "ema_decay": 0.9, "mixup": 0.2, "cutmix": 0.5,
    "label_smoothing": 0.1, "cutout": 4, "micro_batch_size": 8, "optimizer": "adamw",
    "image_size": 16, "num_train_images": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("done") / "run"
    train(out)
    return out


def test_a_training_leaves_model_metrics_and_checkpoints(done: Path) -> None:
    names = sorted(str(p.relative_to(done)) for p in done.rglob("*") if p.is_file())
    assert [name for name in names if name != "run.lock"] == [
        "checkpoints/step-000000004.pt", "checkpoints/step-000000008.pt", "config.json",
        "identity.json", "metrics.csv", "metrics.parquet", "model.json", "model.safetensors",
        "result.json", "settings.yaml", "tensorboard/events.out.tfevents.nasi_ray",
    ]  # fmt: skip
    rows = read_metrics(LocalStorage(str(done)))
    assert [row["epoch"] for row in rows] == [1, 2]
    assert [row["lr"] for row in rows] == pytest.approx([0.05, 0.025])
    assert all(0 <= row["wait_share"] <= 1 and row["images_per_second"] > 0 for row in rows)
    table = pyarrow.csv.read_csv(done / "metrics.csv")
    assert table.column_names == list(COLUMNS)
    assert table.to_pylist() == rows


def test_the_model_that_is_kept_has_the_accuracy_that_is_told(done: Path) -> None:
    result = train(done)
    images = random_images(8, "test")
    train_set = random_images(8, "train")
    mean, std = train_set.mean[:, None, None], train_set.std[:, None, None]
    x = torch.tensor((images.images / np.float32(255) - mean) / std)
    with torch.no_grad():
        logits = result.model()(x)
    hits = (logits.argmax(1) == torch.tensor(images.labels)).sum()
    assert 100 * int(hits) / len(images) == pytest.approx(result.top1)
    line = result_line(result.content, result.uri)
    assert "darts cell, C=2, 3 cells" in line
    assert f"top-1 {result.top1:.2f} %" in line
    assert line.endswith(f"nasi_ray.load_model({str(done)!r})")


def test_a_finished_training_is_answered_without_training(
    done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.loads((done / "result.json").read_text())
    monkeypatch.setattr(planning, "load_train_images", None)
    monkeypatch.setattr(job, "_train", None)
    assert train(done).to_dict() == before
    assert train(done, num_workers=2).to_dict() == before


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"lr": 0.1}, "lr=0.05; asked for lr=0.1"),
        ({"genotype": CELL.replace("max_pool_3x3", "avg_pool_3x3")}, "architecture="),
        ({"seed": 1}, "seed=0; asked for seed=1"),
    ],
)
def test_another_training_in_the_directory_is_refused(
    done: Path, settings: Any, difference: str
) -> None:
    with pytest.raises(RecordConflictError, match=difference):
        train(done, **settings)


def test_a_lost_result_is_written_again(tmp_path: Path) -> None:
    result = train(tmp_path, epochs=1).to_dict()
    (tmp_path / "result.json").unlink()
    (tmp_path / "model.safetensors").unlink()
    again = train(tmp_path, epochs=1).to_dict()
    assert {k: v for k, v in again.items() if k != "seconds"} == {
        k: v for k, v in result.items() if k != "seconds"
    }
    assert (tmp_path / "model.safetensors").exists()
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(RecordCorruptError, match="was changed"):
        train(tmp_path, epochs=1)


class Stopper(Quiet):
    """A display that asks to stop after some steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        super().__init__()
        self._checks = 0

        def check(link: LocalLink, seconds_per_step: float) -> tuple[str, int]:
            self._checks += 1
            link.is_stopping = self._checks >= after
            return ("stop" if link.is_stopping else "go"), 1

        monkeypatch.setattr(LocalLink, "check", check)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that draws random numbers or keeps a state, trained in one go."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(out, **EVERYTHING)
    return out


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_stopped_training_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path, after: int
) -> None:
    asked = tiny(tmp_path, **EVERYTHING)
    with monkeypatch.context() as patch:
        stopper = Stopper(patch, after)
        with pytest.raises(SearchStoppedError, match="run the same command again"):
            job.run_train(asked, stopper)
    display = Quiet()
    job.run_train(asked, display)
    assert any("continues at epoch" in line for line in display.messages)
    assert figures(tmp_path) == figures(whole)
    one, other = final_state(tmp_path), final_state(whole)
    assert all(is_equal(one[name], other[name]) for name in TRAINED)


def test_the_display_counts_steps_to_the_end(tmp_path: Path) -> None:
    display = Quiet()
    job.run_train(tiny(tmp_path), display)
    last: ProgressState = display.states[-1]
    assert (last.num_done, last.num_total, last.unit) == (8, 8, "steps")
    assert [line for line in display.messages if line.startswith("epoch 2/2: loss ")]


def test_old_checkpoints_go_and_the_best_stays(tmp_path: Path) -> None:
    train(tmp_path, epochs=5, keep_checkpoints=1, lr=0.5)
    rows = read_metrics(LocalStorage(str(tmp_path)))
    best = max(rows, key=lambda row: (row["top1"], -row["epoch"]))["epoch"]
    steps = checkpoints.steps_of(LocalStorage(str(tmp_path)))
    assert steps == sorted({4 * best, 20})


def test_a_torn_checkpoint_is_reported(tmp_path: Path) -> None:
    train(tmp_path)
    name = tmp_path / checkpoints.name_of(8)
    name.write_bytes(name.read_bytes()[:100])
    (tmp_path / "result.json").unlink()
    with pytest.raises(
        DataError, match=r"step-000000008\.pt is not a checkpoint, or is incomplete .*delete"
    ):
        train(tmp_path)
    name.unlink()
    assert train(tmp_path).content["epochs"] == 2


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_a_model_that_is_gone_is_written_again(tmp_path: Path, name: str) -> None:
    train(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    train(tmp_path)
    assert (tmp_path / name).read_bytes() == content


def test_the_cell_of_another_space_than_given_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="space is 's1', but the genotype is a cell of darts"):
        train(tmp_path, space="s1")


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (print, ("run",))

    torch.save({"format": 1, "model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(DataError, match="is not a checkpoint"):
        checkpoints.read((tmp_path / "evil.pt").read_bytes(), "evil.pt")


def test_a_storage_that_fails_for_a_moment_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_FIRST_PAUSE_S", 0.0)
    write, failures = checkpoints.write, [StorageError("no answer"), StorageError("no answer")]

    def sometimes(*args: Any, **options: Any) -> None:
        if failures:
            raise failures.pop()
        write(*args, **options)

    monkeypatch.setattr(checkpoints, "write", sometimes)
    display = Quiet()
    job.run_train(tiny(tmp_path, epochs=1), display)
    assert display.messages.count("no answer; trying again") == 2


def test_a_loss_that_is_not_finite_ends_the_run_and_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) in epoch 1; .*--lr"):
        train(tmp_path, lr=1e30, clip_grad=0.0)
    assert checkpoints.steps_of(LocalStorage(str(tmp_path))) == []


@pytest.mark.parametrize(
    ("space", "architecture"),
    [
        ("nb201", "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"),
        ("s1", None),
    ],
)
def test_networks_of_benchmarks_are_trained(
    tmp_path: Path, space: str, architecture: str | None
) -> None:
    if architecture is None:
        found = get_tabular_space(space)
        architecture = next(iter(found)).to_string()
    result = train(
        tmp_path, genotype=None, space=space, architecture=architecture,
        init_channels=8, num_cells="auto", epochs=1, num_train_images=16,
    )  # fmt: skip
    assert result.content["network"] == "benchmark"
    assert isinstance(result.model(), nn.Module)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"batch_size": 4096}, DataError, "batch_size is 4096 and there are 64 training images"),
        ({"device": "cuda"}, ConfigError, "sees 0 here"),
        ({"micro_batch_size": 3}, ConfigError, "batch_size must be a multiple of"),
        ({"num_workers": 3}, ConfigError, "3 workers that take 5 images.*must be a multiple of 5"),
        (
            {"num_workers": 3, "micro_batch_size": 4, "sync_bn": True},
            ConfigError, "must be a multiple of 12, and at least 12",
        ),
        ({"num_workers": 2, "min_workers": 3}, ConfigError, "min_workers is 3 and num_workers is"),
        (
            {"num_workers": 3, "min_workers": 1, "label_selector": "zone=a"},
            ConfigError, "min_workers is 1, and label_selector is given: Ray also counts the nodes",
        ),
        (
            {"num_workers": 3, "min_workers": 1, "sync_bn": True},
            ConfigError, "and sync_bn is given",
        ),
        (
            {"num_workers": 3, "min_workers": 2, "genotype": None, "genotypes": "cells.txt"},
            ConfigError, "and genotypes is given: each training of a list has one process",
        ),
        ({"num_workers": 16}, ConfigError, "batch norm needs 2"),
        ({"init_channels": 4000, "num_cells": 20, "image_size": 32}, ConfigError, "lower --init"),
        ({"genotype": "nowhere.json"}, DataError, "cannot be read"),
        ({"genotype": "Genotype(normal=1)"}, ConfigError, "not a DARTS genotype"),
        ({"genotype": None, "space": "s1", "architecture": CELL}, ConfigError, "architecture: "),
        ({"data": "nowhere/at/all"}, DataError, "no such file"),
        (
            {"network": "imagenet", "genotype": None, "space": "nb201", "data": "random",
             "architecture": "|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"},
            ConfigError, "images of 32 pixels only",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_anything_is_made(
    tmp_path: Path, settings: Any, error: type[Exception], message: str
) -> None:
    out = tmp_path / "run"
    with pytest.raises(error, match=message):
        train(out, **settings)
    assert not out.exists()


def test_a_stored_genotype_of_another_space_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    path.write_text(json.dumps({"schema": "nasi_ray.genotype/1", "space": "nb201"}))
    with pytest.raises(InvalidGenotypeError):
        train(tmp_path / "run", genotype=str(path))


def test_accumulated_gradients_are_those_of_the_batch(tmp_path: Path) -> None:
    grads = []
    for micro in (16, 4):
        plan = _plan(tmp_path, micro)
        trainer = loop.Trainer(plan, WORLD, LocalLink(Quiet()))
        # Without batch norm's statistics of the micro-batch, the two must agree.
        for module in trainer._state.net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        trainer._meter.begin(0)
        trainer._step(0, trainer._loader.train(0, 0))
        grads.append([p.detach().clone() for p in trainer._state.net.parameters()])
    for one, other in zip(*grads, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


WORLD = World(rank=0, size=1, device=torch.device("cpu"))


def _plan(out: Path, micro: int) -> TrainPlan:
    asked = tiny(out, micro_batch_size=micro)
    images = load_train_images(asked.images, asked.training)
    subject = read_subject(asked.subject.genotype, "darts", None)
    return planning.plan_training(
        asked, asked.training, LocalStorage(str(out)), images, subject, "cpu"
    )


def test_drop_path_rises_epoch_by_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    autocast = TrainState.autocast

    def spy(state: TrainState) -> Any:
        seen.append((state.net.training, state.net.drop_path_prob))
        return autocast(state)

    monkeypatch.setattr(TrainState, "autocast", spy)
    train(tmp_path, drop_path=0.2)
    assert [prob for training, prob in seen if training] == [0.0] * 4 + [0.1] * 4


def test_the_moving_average_is_what_is_kept(tmp_path: Path) -> None:
    result = train(tmp_path, ema_decay=0.5)
    state = final_state(tmp_path)
    kept = result.model().state_dict()
    assert all(torch.equal(kept[name], value) for name, value in state["ema"].items())
    assert not all(torch.equal(kept[name], value) for name, value in state["model"].items())


@pytest.mark.parametrize(("decay", "said"), [(0.9998, ["100%"]), (0.5, []), (0.0, [])])
def test_a_moving_average_of_initial_weights_is_named(
    decay: float, said: list[str], tmp_path: Path
) -> None:
    display = Quiet()
    job.run_train(tiny(tmp_path, ema_decay=decay, epochs=1), display)
    lines = [line for line in display.messages if "moving average" in line]
    assert len(lines) == len(said)
    for line, share in zip(lines, said, strict=True):
        assert f"it is {share} the initial weights; lower --ema-decay" in line


def test_bfloat16_trains_on_the_cpu_too(tmp_path: Path) -> None:
    result = train(tmp_path, amp="bfloat16", epochs=1)
    assert all(p.dtype == torch.float32 for p in result.model().parameters())
    assert figures(tmp_path) != []


def test_the_run_directory_of_a_training_names_its_cell(done: Path) -> None:
    _, cell = read_subject(str(done), "darts", None)
    assert cell == nasi_ray.Genotype.parse(CELL)


def test_settings_repeat_the_training(done: Path) -> None:
    from nasi_ray.training.settings import parse_train

    again = parse_train(["--config", str(done / "settings.yaml")])
    assert dataclasses.replace(again, config=None, out="") == dataclasses.replace(
        tiny(done), config=None, out=""
    )


def test_python_keywords_are_the_options(tmp_path: Path) -> None:
    settings = {k: v for k, v in TINY.items() if k != "genotype"}
    result = nasi_ray.train(CELL, progress=None, out=tmp_path, **settings)
    assert result.to_pandas()["epoch"].tolist() == [1, 2]
    assert isinstance(nasi_ray.load_model(str(tmp_path)), nn.Module)


def test_a_cluster_is_not_taken_to_be_without_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(ConfigError, match="--device cuda, or --device cpu"):
        planning.find_compute(tiny(tmp_path, num_workers=8))
    assert planning.find_compute(tiny(tmp_path, num_workers=8, device="cpu")) == ("cpu", 8)
    assert planning.find_compute(tiny(tmp_path, num_workers=8, device="cuda")) == ("cuda", 8)
    assert planning.find_compute(tiny(tmp_path, num_workers=0)) == ("cpu", 0)


def test_workers_of_one_training_have_a_gpu_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    asked = tiny(tmp_path / "run", num_workers=2, device="cuda", gpus_per_worker=0.5)
    with pytest.raises(ConfigError, match=r"gpus_per_worker is 0\.5, and the 2 workers of one"):
        job.run_train(asked, Quiet())
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=r"gpus_per_worker is 2\.0; it must be above 0"):
        tiny(tmp_path, gpus_per_worker=2)


@pytest.mark.parametrize(("device", "gpus"), [("cuda", 0.25), ("cpu", 0.0)])
def test_one_worker_takes_its_share_of_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, gpus: float
) -> None:
    asked: list[Any] = []

    def run_on_workers(*args: Any) -> None:
        asked.append(args[2])
        raise SearchStoppedError("enough is known")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(job, "connect", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(nodes, "live_nodes", lambda *_: [{"CPU": 8.0, "GPU": 1.0}])
    monkeypatch.setattr(nodes, "has_autoscaler", lambda: False)
    monkeypatch.setattr(job, "run_on_workers", run_on_workers)
    shared = tiny(tmp_path / "run", num_workers=1, device=device, gpus_per_worker=0.25)
    with pytest.raises(SearchStoppedError, match="enough"):
        job.run_train(shared, Quiet())
    assert [(group.gpus, group.num_workers) for group in asked] == [(gpus, 1)]


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")  # torch.compile's own
def test_a_compiled_network_leaves_the_same_names_and_about_the_same_figures(
    tmp_path: Path,
) -> None:
    settings: dict[str, Any] = {"drop_path": 0.2, "ema_decay": 0.9, "epochs": 3}
    train(tmp_path / "plain", **settings)
    train(tmp_path / "compiled", **settings, compile=True)
    plain, compiled = final_state(tmp_path / "plain"), final_state(tmp_path / "compiled")
    assert plain["model"].keys() == compiled["model"].keys()
    assert plain["ema"].keys() == compiled["ema"].keys()
    # The first epoch drops nothing; later masks are drawn in another way.
    one, other = figures(tmp_path / "plain")[0], figures(tmp_path / "compiled")[0]
    assert one[2] == pytest.approx(other[2], rel=1e-3)
