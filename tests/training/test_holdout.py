"""Trainings that are tested on a part of the training images."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from nasi_ray.errors import ConfigError, DataError
from nasi_ray.export.job import run_export
from nasi_ray.export.settings import ExportJob
from nasi_ray.training import images
from nasi_ray.training.cells import run_cells
from nasi_ray.training.images import load_train_images
from nasi_ray.training.recipes import RECIPES, TrainingConfig, training_settings
from nasi_ray.training.settings import DataConfig
from nasi_ray.training.text import result_line
from tests.toy import Quiet
from tests.training.trainings import CELL, tiny, train

QUICK = dataclasses.replace(RECIPES["quick"], image_size=8, num_train_images=None)


def held(**changes: Any) -> images.TrainImages:
    return load_train_images(DataConfig(), dataclasses.replace(QUICK, **changes))


def test_no_image_is_both_trained_and_tested_on_and_the_test_set_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(images, "_load_test", None)
    found = held(holdout=0.25)
    assert found.chosen is not None
    assert found.held is not None
    assert (found.num_train, found.num_test) == (1536, 512)
    assert sorted([*found.chosen, *found.held]) == list(range(2048))
    assert found.test is found.train
    shards = [found.tested(rank, 3) for rank in range(3)]
    assert sorted(np.concatenate(shards)) == found.held.tolist()


def test_what_is_held_out_is_the_same_for_every_seed_and_number_of_images() -> None:
    one, other = held(holdout=0.2), held(holdout=0.2, seed=7, num_train_images=100)
    assert one.held is not None
    assert other.held is not None
    assert other.chosen is not None
    assert one.held.tolist() == other.held.tolist()
    assert other.num_train == 100
    assert not set(other.chosen) & set(other.held)


def test_trainings_without_it_keep_their_identity() -> None:
    assert "holdout" not in training_settings(TrainingConfig())
    assert training_settings(TrainingConfig(holdout=0.2))["holdout"] == 0.2


def test_the_accuracy_is_that_of_the_held_out_images(tmp_path: Path) -> None:
    result = train(tmp_path / "run", holdout=0.1)
    assert (result.content["num_test_images"], result.content["holdout"]) == (205, 0.1)
    assert "of 205 held-out images" in result_line(result.content, result.uri)
    one = result_line({**result.content, "num_cells": 1, "epochs": 1}, result.uri)
    assert ", 1 cell, " in one
    assert "for 1 epoch: top-1" in one
    assert train(tmp_path / "run", holdout=0.1).content == result.content
    identity = json.loads((tmp_path / "run" / "identity.json").read_text())["identity"]
    assert identity["holdout"] == 0.1
    assert "holdout" not in train(tmp_path / "other").content


def test_a_table_and_a_card_do_not_call_it_test_accuracy(tmp_path: Path) -> None:
    (tmp_path / "cells.txt").write_text(f"{CELL}\n")
    listed = {"genotype": None, "genotypes": str(tmp_path / "cells.txt"), "epochs": 1}
    run_cells(tiny(tmp_path / "run", holdout=0.1, **listed), Quiet())
    field = pq.read_schema(tmp_path / "run" / "accuracies.parquet").field(1)
    assert field.name == "random_valid_accuracy_1ep"
    assert json.loads(field.metadata[b"nasi_ray.metric"])["split"] == "valid"
    (cell,) = (tmp_path / "run" / "cells").iterdir()
    run_export(ExportJob(run=str(cell), formats=()))
    card = (cell / "export" / "README.md").read_text()
    assert "| top-1 accuracy, % (of training images that were held out) |" in card
    assert "| holdout | 0.1 |" in card
    assert "split" not in card.partition("# darts")[0]


def test_a_card_names_the_split_of_the_figures(tmp_path: Path) -> None:
    for split, epochs in (("test", 1), ("validation", 2)):
        result = train(tmp_path / split, epochs=epochs)
        assert result.content["test_split"] == "test"
        content = {**result.content, "test_split": split}
        (tmp_path / split / "result.json").write_text(json.dumps(content))
        run_export(ExportJob(run=result.uri, formats=()))
        assert f"split: {split}" in (tmp_path / split / "export" / "README.md").read_text()


@pytest.mark.parametrize("share", [1.0, -0.1])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"holdout is .*; it must be at least 0 and below 1"):
        TrainingConfig(holdout=share)


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="test images are not read, and test_data is 'there'"):
        tiny(tmp_path, holdout=0.2, test_data="there")
    with pytest.raises(DataError, match=r"2048 are left to train on and 0 to test on"):
        held(holdout=1e-6)
