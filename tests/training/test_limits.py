"""Trainings of the widest network within limits."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from nasi_ray.describe.job import describe
from nasi_ray.describe.settings import DescribeJob
from nasi_ray.errors import ConfigError, RecordConflictError
from nasi_ray.run.subject import read_subject
from nasi_ray.training.cells import run_cells
from nasi_ray.training.plan import widest_within
from nasi_ray.training.recipes import RECIPES
from nasi_ray.training.settings import SubjectConfig, make_train_job
from tests.toy import Quiet
from tests.training.trainings import CELL, TINY, train

LARGER = CELL.replace("'skip_connect', 0", "'sep_conv_5x5', 0")
NB201 = "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|none~0|none~1|skip_connect~2|"
WITHOUT_C = {name: value for name, value in TINY.items() if name != "init_channels"}


@pytest.mark.parametrize("recipe", ["cifar10", "cifar100", "imagenet"])
@pytest.mark.parametrize("limits", [{"max_madds": "90M"}, {"max_params": "0.9M"}])
def test_the_number_of_channels_is_the_one_that_describe_finds(
    recipe: Any, limits: dict[str, Any]
) -> None:
    found = describe(DescribeJob(genotype=CELL, network=recipe, **limits))
    space, cell = read_subject(CELL, "darts", None)
    wide = widest_within(RECIPES[recipe], space, cell, SubjectConfig(genotype=CELL, **limits))
    assert wide.init_channels == found["init_channels"] > 2
    assert dataclasses.replace(wide, init_channels="auto") == RECIPES[recipe]


def test_a_benchmarks_own_network_has_limits_too() -> None:
    found = describe(DescribeJob(space="nb201", architecture=NB201, max_params="50k"))
    space, cell = read_subject(None, "nb201", NB201)
    wide = widest_within(RECIPES["cifar10"], space, cell, SubjectConfig(max_params="50k"))
    assert wide.init_channels == found["init_channels"]


def test_cells_of_a_list_are_as_wide_as_the_limit_allows(tmp_path: Path) -> None:
    (tmp_path / "cells.txt").write_text(f"{CELL}\n{LARGER}\n")
    limit = describe(DescribeJob(genotype=CELL, network="cifar10", init_channels=6, num_cells=3))
    settings = {**WITHOUT_C, "genotype": None, "genotypes": str(tmp_path / "cells.txt")}
    settings |= {"epochs": 1, "image_size": 32, "out": str(tmp_path / "out")}
    settings["max_madds"] = str(limit["madds"])
    run_cells(make_train_job(settings), Quiet())
    table = pq.read_table(tmp_path / "out" / "accuracies.parquet")
    narrow, wide = table["init_channels"].to_pylist()
    assert 1 < wide < narrow == 6
    settings["max_madds"] = str(limit["madds"] // 4)
    with pytest.raises(RecordConflictError, match="init_channels"):
        run_cells(make_train_job(settings), Quiet())


def test_without_limits_the_run_directory_is_called_what_it_always_was() -> None:
    job = make_train_job({"recipe": "cifar10", "genotype": "x"})
    assert job.run_uri == "runs/train-cifar10-7070b1bc"
    assert make_train_job({"genotypes": "cells.txt"}).run_uri == "runs/train-quick-7f2a6633"
    limited = make_train_job({"recipe": "cifar10", "genotype": "x", "max_params": "4M"})
    assert limited.run_uri != job.run_uri


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_madds": "much"}, "max_madds is 'much'; give a number such as 600M"),
        ({"max_params": "0"}, "max_params is '0'; give a number"),
        ({"max_params": "4M", "init_channels": 7}, "init_channels is 7, but max_params chooses it"),
        ({"max_params": "1"}, r"the narrowest network \(C=1\) has .* above the limit; give higher"),
        ({"max_madds": "900000G"}, "C=4096 is still within the limits; give lower limits"),
    ],
)
def test_limits_that_cannot_be_met_are_refused(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, **({"init_channels": RECIPES["quick"].init_channels} | settings))
