"""Settings of a training that are refused, or named, before anything is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nasi_ray.errors import ConfigError, SearchStoppedError
from nasi_ray.finalists import training as finalists
from nasi_ray.training import job, loop
from nasi_ray.training.cells import run_cells
from nasi_ray.training.job import run_train
from nasi_ray.training.link import LocalLink
from nasi_ray.training.settings import options_without_effect
from tests.toy import Quiet
from tests.training.trainings import CELL, tiny, train

NB201 = "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|none~0|none~1|skip_connect~2|"
CROPPED = {"augment": "resized-crop", "cutout": 0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "sgd", "momentum": 0.0}, "optimizer sgd cannot be made here: Nesterov"),
        ({**CROPPED, "auto_augment": "foo"}, "auto_augment is 'foo' .* makes no transforms"),
        ({**CROPPED, "color_jitter": (0.4, 0.4, 0.4, 0.9)}, "makes no transforms"),
        ({**CROPPED, "color_jitter": (0.4, -0.4, 0.4)}, "numbers of at least 0"),
        ({"sync_bn": True, "num_workers": 2}, "sync_bn is on, but torch has it on GPUs only"),
    ],
)
def test_what_timm_or_torch_would_refuse_is_refused_first(
    settings: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "read_images", None)
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, **settings)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"holdout": 0.2, "test_split": "validation", "data": "x"}, "--test-split"),
        ({"genotype": None, "space": "nb201", "architecture": NB201}, "--num-cells"),
        ({}, ""),
    ],
)
def test_options_without_effect_are_named(
    settings: dict[str, Any], named: str, tmp_path: Path
) -> None:
    lines = options_without_effect(tiny(tmp_path, **settings))
    assert [line.rpartition(" ")[2] for line in lines] == ([named] if named else [])


class Late:
    """A stop that comes when the last step of a training has been checked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trained: list[str] = []
        train_network: Callable[..., None] = loop.train

        def train_and_stop(plan: Any, world: Any, link: LocalLink, after_epoch: Any) -> None:
            self.trained.append(plan.uri)
            try:
                train_network(plan, world, link, after_epoch)
            finally:
                link.is_stopping = True

        monkeypatch.setattr(job, "train", train_and_stop)


def test_a_stop_that_comes_late_does_not_start_the_next_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = CELL.replace("'skip_connect', 0", "'max_pool_3x3', 0")
    (tmp_path / "cells.txt").write_text(f"{CELL}\n{other}\n")
    listed = {"genotype": None, "genotypes": str(tmp_path / "cells.txt"), "epochs": 1}
    late = Late(monkeypatch)
    with pytest.raises(SearchStoppedError):
        run_cells(tiny(tmp_path / "run", **listed), Quiet())
    assert len(late.trained) == 1
    monkeypatch.undo()
    assert run_cells(tiny(tmp_path / "run", **listed), Quiet()).num_trained == 2


def test_a_late_stop_of_a_single_training_leaves_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Late(monkeypatch)
    assert train(tmp_path, epochs=1).content["epochs"] == 1


def test_a_stop_before_the_end_of_a_rung_is_not_hidden_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Late(monkeypatch)

    def reached(row: Any) -> None:
        raise finalists._RungReached

    with pytest.raises(SearchStoppedError):
        run_train(tiny(tmp_path), Quiet(), after_epoch=reached, others_follow=True)
