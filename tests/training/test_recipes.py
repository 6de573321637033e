"""The recipes, number by number."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import nn

from nasi_ray.errors import ConfigError, UnknownNameError
from nasi_ray.training.optimization import (
    Schedule,
    make_criterion,
    make_mixup,
    make_optimizer,
    refuse_bad_optimizer,
)
from nasi_ray.training.recipes import RECIPES, TrainingConfig
from nasi_ray.training.settings import make_train_job, parse_train


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_recipe_of_cifar_is_the_papers(name: str) -> None:
    recipe = RECIPES[name]
    expected: dict[str, Any] = {
        "network": name, "init_channels": "auto", "num_cells": "auto", "image_size": 32,
        "epochs": 600, "batch_size": 96, "optimizer": "momentum", "lr": 0.025, "min_lr": 0.0,
        "momentum": 0.9, "weight_decay": 3e-4, "schedule": "cosine", "auxiliary_weight": 0.4,
        "drop_path": 0.2, "cutout": 16, "clip_grad": 5.0, "augment": "crop-flip",
    }  # fmt: skip
    assert {key: getattr(recipe, key) for key in expected} == expected


def test_the_recipe_of_imagenet_is_the_papers() -> None:
    recipe = RECIPES["imagenet"]
    expected: dict[str, Any] = {
        "network": "imagenet", "image_size": 224, "epochs": 250, "batch_size": 1024,
        "micro_batch_size": 128, "optimizer": "momentum", "lr": 0.5, "momentum": 0.9,
        "weight_decay": 3e-5, "schedule": "linear", "warmup_epochs": 5, "min_lr": 0.0,
        "auxiliary_weight": 0.4, "label_smoothing": 0.1, "clip_grad": 5.0,
    }  # fmt: skip
    assert {key: getattr(recipe, key) for key in expected} == expected
    assert expected["batch_size"] == 8 * expected["micro_batch_size"]


def rates(config: TrainingConfig, steps_per_epoch: int) -> list[float]:
    optimizer = make_optimizer(nn.Linear(2, 2), config)
    schedule = Schedule(optimizer, config, steps_per_epoch)
    found = []
    for step in range(config.epochs * steps_per_epoch):
        schedule.set(step)
        found.append(float(optimizer.param_groups[0]["lr"]))
    return found


def test_the_rate_of_cifar_is_a_cosine_of_the_epoch() -> None:
    found = rates(RECIPES["cifar10"], 3)
    for epoch in (0, 1, 300, 599):
        expected = 0.025 * 0.5 * (1 + math.cos(math.pi * epoch / 600))
        assert found[3 * epoch : 3 * epoch + 3] == pytest.approx([expected] * 3)


def test_the_rate_of_imagenet_rises_to_a_half_and_falls_to_zero_in_lines() -> None:
    found = rates(RECIPES["imagenet"], 4)
    assert found[0] == 0.0
    assert found[10] == pytest.approx(0.25)
    assert found[20] == max(found) == pytest.approx(0.5)
    assert found[20 + 245 * 2] == pytest.approx(0.25)
    assert found[-1] == pytest.approx(0.5 / 980)


def test_a_rate_set_out_of_order_is_the_same() -> None:
    config = RECIPES["imagenet"]
    optimizer = make_optimizer(nn.Linear(2, 2), config)
    schedule = Schedule(optimizer, config, 4)
    schedule.set(700)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(rates(config, 4)[700])


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_one_epoch_has_one_rate(schedule: Any) -> None:
    config = dataclasses.replace(RECIPES["quick"], epochs=1, schedule=schedule)
    assert rates(config, 2) == pytest.approx([config.lr] * 2)


def test_sgd_decays_what_the_recipe_says() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    everything = make_optimizer(net, RECIPES["cifar10"])
    assert type(everything) is torch.optim.SGD
    assert [(g["weight_decay"], g["nesterov"]) for g in everything.param_groups] == [(3e-4, False)]
    weights = make_optimizer(net, dataclasses.replace(RECIPES["cifar10"], decay_norms=False))
    decays = {g["weight_decay"]: len(g["params"]) for g in weights.param_groups}
    assert decays == {0.0: 3, 3e-4: 1}


def test_losses_are_means_over_the_batch() -> None:
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    plain = make_criterion(RECIPES["cifar10"])(logits, labels)
    assert float(plain) == pytest.approx((math.log(1 + math.exp(-2)) + math.log(2)) / 2)
    smooth = make_criterion(RECIPES["imagenet"])(logits, labels)
    expected = (math.log(1 + math.exp(-2)) + 0.05 * 2 + math.log(2)) / 2
    assert float(smooth) == pytest.approx(expected)


def test_mixed_images_have_shares_of_classes() -> None:
    config = RECIPES["imagenet-timm"]
    mixup = make_mixup(config, 10)
    assert mixup is not None
    _, shares = mixup(torch.zeros(4, 3, 8, 8), torch.arange(4))
    assert shares.shape == (4, 10)
    assert shares.sum(1) == pytest.approx(torch.ones(4))
    assert make_criterion(config)(torch.zeros(4, 10), shares).shape == ()
    assert make_mixup(RECIPES["imagenet"], 10) is None


def test_flags_override_the_file_and_the_file_the_recipe(tmp_path: Any) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("recipe: imagenet\nlr: 0.25\nepochs: 90\ngenotype: cell.json\n")
    job = parse_train(["--config", str(path), "--epochs", "30"])
    assert (job.recipe, job.training.lr, job.training.epochs) == ("imagenet", 0.25, 30)
    assert job.training.batch_size == 1024


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": "cifar"}, "unknown recipe 'cifar'; .*did you mean cifar10"),
        ({"lr": -1.0}, "lr is -1.0; it must be positive"),
        ({"epochs": 0}, "epochs is 0; it must be 1 to 100000"),
        ({"warmup_epochs": 12}, "the warm-up must be shorter"),
        ({"mixup": -0.1}, "mixup is -0.1"),
        ({"random_erasing": 0.5}, "needs augment resized-crop"),
        ({"augment": "resized-crop", "cutout": 4}, "needs augment crop-flip"),
        ({"genotype": None}, "give a cell"),
        ({"architecture": "x"}, "are given together"),
        ({"num_worker": 1}, "did you mean num_workers"),
        ({"sync_bn": True, "device": "cpu"}, "on GPUs only"),
    ],
)
def test_settings_that_are_not_allowed_are_refused(settings: Any, message: str) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        make_train_job({"genotype": "cell.json", **settings})


def test_an_unknown_optimizer_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown optimizer 'adamq'; .*did you mean"):
        refuse_bad_optimizer(dataclasses.replace(RECIPES["quick"], optimizer="adamq"))
