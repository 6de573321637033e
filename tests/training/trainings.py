"""Small trainings for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from nasi_ray.storage import LocalStorage
from nasi_ray.training import checkpoints
from nasi_ray.training.job import run_train
from nasi_ray.training.metrics import DETERMINED, read_metrics
from nasi_ray.training.result import TrainResult
from nasi_ray.training.settings import TrainJob, make_train_job
from tests.toy import Quiet

CELL = (
    "Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 0)], normal_concat=[2], "
    "reduce=[('max_pool_3x3', 0), ('skip_connect', 1)], reduce_concat=[2])"
)
"""One node: the smallest DARTS cell with everything in it."""

TINY: dict[str, Any] = {
    "genotype": CELL,
    "init_channels": 2,
    "num_cells": 3,
    "image_size": 8,
    "epochs": 2,
    "batch_size": 16,
    "num_train_images": 64,
    "num_workers": 0,
}
"""Four steps an epoch, on made-up images."""


def tiny(out: Path, **settings: Any) -> TrainJob:
    """A tiny training."""
    return make_train_job({**TINY, "out": str(out), **settings})


def train(out: Path, **settings: Any) -> TrainResult:
    """Run a tiny training."""
    return run_train(tiny(out, **settings), Quiet())


def figures(out: Path) -> list[tuple[float, ...]]:
    """What the epochs measured, without how fast they were."""
    return [tuple(row[name] for name in DETERMINED) for row in read_metrics(LocalStorage(str(out)))]


def final_state(out: Path) -> dict[str, Any]:
    """The latest checkpoint."""
    data = checkpoints.latest(LocalStorage(str(out)))
    assert data is not None
    return checkpoints.read(data, str(out))


def is_equal(one: object, other: object) -> bool:
    """Whether two checkpoints, or parts of them, are equal bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(is_equal, one, other))
    return one == other


TRAINED = ("step", "losses", "model", "ema", "optimizer", "scaler", "buffers")
"""Parts of a checkpoint that hold no times."""
