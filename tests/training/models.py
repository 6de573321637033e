"""Tiny models for tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from nasi_ray.training.model import ModelConfig, build_model
from tests.spaces.cells import DARTS_V2

NB201_CELL = (
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_3x3~2|"
)
S1_CELL = "0;0,1;0,1;0,1;0,1|3,1,m,3"

ARCHITECTURES = {"darts": DARTS_V2, "s1": S1_CELL, "nb201": NB201_CELL}


def tiny_config(space: str = "darts", **changes: Any) -> ModelConfig:
    """A network of 8 pixels (ImageNet's stem: 32) and few channels."""
    is_darts = space == "darts"
    settings: dict[str, Any] = {
        "space": space,
        "architecture": ARCHITECTURES[space],
        "network": "cifar10" if is_darts else "benchmark",
        "init_channels": 4,
        "num_cells": 3 if is_darts else None,
        "num_classes": 3,
        "image_size": 8,
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.25, 0.3),
        "class_names": ("ant", "bee", "cat"),
    }
    return ModelConfig(**settings | changes)


def trained(config: ModelConfig, *, seed: int = 1) -> nn.Module:
    """A network whose batch norms are not at their start, in evaluation mode."""
    net = build_model(config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor, low, high in (
                    (module.weight, 0.5, 1.5),
                    (module.bias, -0.2, 0.2),
                    (module.running_mean, -0.2, 0.2),
                    (module.running_var, 0.5, 1.5),
                ):
                    assert tensor is not None
                    tensor.uniform_(low, high, generator=generator)
    return net.eval()
