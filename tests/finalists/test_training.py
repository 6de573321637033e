"""Finalists that are trained: held-out images, early stops, and going on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from nasi_ray.config import ComputeSettings, SampleConfig
from nasi_ray.errors import SearchStoppedError, TrainingError
from nasi_ray.finalists import training
from nasi_ray.finalists.cells import Finalist
from nasi_ray.finalists.outcome import Outcome, best_of
from nasi_ray.run.tracking import TrackConfig, Tracking
from nasi_ray.spaces import Genotype
from nasi_ray.training import images, job
from nasi_ray.training.recipes import RECIPES
from tests.toy import Quiet
from tests.training.trainings import CELL

pytestmark = pytest.mark.integration

EPOCHS = 4
OPS = ("sep_conv_3x3", "dil_conv_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_5x5")
CELLS = [Genotype.parse(CELL.replace("sep_conv_3x3", op)) for op in OPS]
RECIPE = dataclasses.replace(
    RECIPES["quick"],
    init_channels=2,
    num_cells=3,
    image_size=8,
    epochs=EPOCHS,
    batch_size=16,
    num_train_images=32,
)


@pytest.fixture(autouse=True)
def tiny_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "quick", RECIPE)
    monkeypatch.setitem(images._NUM_RANDOM, "train", 200)


def cells(count: int) -> list[Finalist]:
    return [
        Finalist(rank=rank, score=-float(rank), architecture=cell)
        for rank, cell in enumerate(CELLS[:count], start=1)
    ]


def finalists(out: Path, count: int = 4, **compute: Any) -> list[Outcome]:
    samples = SampleConfig(space="darts", data="random", image_size=8)
    asked = ComputeSettings(**{"num_workers": 0, **compute})
    told = Tracking(TrackConfig(), Quiet())
    return training.train_finalists(cells(count), "quick", samples, asked, str(out), Quiet(), told)


def untimed(outcomes: list[Outcome]) -> list[Outcome]:
    return [dataclasses.replace(one, seconds=0.0, run=None) for one in outcomes]


def test_half_are_stopped_at_each_rung_and_the_best_is_trained_to_the_end(tmp_path: Path) -> None:
    found = finalists(tmp_path / "a")
    assert sorted(one.epochs or 0 for one in found) == [1, 1, 2, EPOCHS]
    assert [one.is_stopped for one in found] == [one.epochs != EPOCHS for one in found]
    last = next(i for i, one in enumerate(found) if one.epochs == EPOCHS)
    assert best_of(found) == last
    # The same command answers without training.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "run_train", None)
        assert finalists(tmp_path / "a") == found


def test_a_stop_loses_nothing_and_the_answer_stays_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = untimed(finalists(tmp_path / "whole"))
    run_train, calls = job.run_train, []

    def stop(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 4:
            raise SearchStoppedError("stopped")
        return run_train(*args, **kwargs)

    monkeypatch.setattr(training, "run_train", stop)
    with pytest.raises(SearchStoppedError, match="stopped with 0 of 4 finalists trained"):
        finalists(tmp_path / "stopped")
    assert untimed(finalists(tmp_path / "stopped")) == whole


def test_a_training_that_fails_is_named_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_train = job.run_train

    def fail_first(one: Any, *args: Any, **kwargs: Any) -> Any:
        if one.subject.architecture == CELLS[0].to_string():
            raise TrainingError("the loss is nan")
        return run_train(one, *args, **kwargs)

    monkeypatch.setattr(training, "run_train", fail_first)
    found = finalists(tmp_path / "run", 2)
    assert (found[0].failure, found[0].is_stopped) == ("the loss is nan", False)
    assert (best_of(found), found[1].epochs) == (1, EPOCHS)
    monkeypatch.setattr(training, "run_train", run_train)
    again = finalists(tmp_path / "run", 2)
    assert [one.failure for one in again] == [None, None]


def test_a_training_that_leaves_nothing_has_failed(tmp_path: Path) -> None:
    def end_all(trials: Any, images: Any) -> None:
        for position in range(2):
            trials.end(position, None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_halve_here", end_all)
        found = finalists(tmp_path / "run", 2)
    assert all("an --out that all share" in str(one.failure) for one in found)


def test_more_finalists_train_only_what_is_missing(tmp_path: Path) -> None:
    few = finalists(tmp_path / "run", 2)
    answer = best_of(few)
    assert answer is not None
    more = finalists(tmp_path / "run", 4)
    assert more[answer] == few[answer]
    assert all(one.epochs for one in more)


@pytest.mark.parametrize(("epochs", "first"), [(1, 1), (3, 1), (12, 3), (600, 150)])
def test_the_first_rung_is_a_quarter(epochs: int, first: int) -> None:
    assert training.halving_of(epochs).first == first


def test_trials_under_asha_go_on_where_they_were(tmp_path: Path) -> None:
    out = tmp_path / "run"
    found = finalists(out, num_workers=2)
    ended = [one for one in found if not one.is_stopped]
    assert ended
    assert all(one.epochs == EPOCHS and one.failure is None for one in ended)
    assert all(0 < (one.epochs or 0) < EPOCHS for one in found if one.is_stopped)
    # Bit for bit what this process trains.
    alone = finalists(tmp_path / "alone", num_workers=0)
    for one, other in zip(found, alone, strict=True):
        if one.epochs == other.epochs:
            assert one.valid_accuracy == other.valid_accuracy
    assert finalists(out, num_workers=2) == found
    more = finalists(out, 5, num_workers=2)
    for one, other in zip(found, more, strict=False):
        assert (other.epochs or 0) >= (one.epochs or 0)


@pytest.mark.parametrize(("asked", "share"), [(0.25, 0.25), ("auto", 1.0), (1.0, 1.0)])
def test_finalists_share_gpus_as_the_search_does(asked: Any, share: float) -> None:
    compute = ComputeSettings(num_workers=2, gpus_per_worker=asked)
    base = training._base_job(cells(1)[0], "quick", SampleConfig(space="darts"), compute, "runs/x")
    assert base.compute.gpus_per_worker == share
