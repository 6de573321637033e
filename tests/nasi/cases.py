"""Small one-shot networks with a batch and a sampled architecture, made from a few numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from nasi_ray.nasi.gradient import Loss
from nasi_ray.nasi.gumbel import Architecture, sample_architecture
from nasi_ray.nasi.loss import LOSSES
from nasi_ray.networks.darts import DartsSupernet, cell_types
from nasi_ray.networks.initialization import build
from nasi_ray.networks.mixture import WeightedMixer
from nasi_ray.spaces.darts import DartsSpace

SPACE = DartsSpace()
NUM_CLASSES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What a case is made from."""

    init_channels: int = 2
    num_cells: int = 3
    batch_size: int = 3
    image_size: int = 8
    sample_per: str = "step"
    loss: str = "cross-entropy"
    temperature: float = 1.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """Everything e is a function of."""

    net: nn.Module
    x: Tensor
    y: Tensor
    loss: Loss
    cell_types: tuple[str, ...]
    architecture: Architecture


def darts_case(setting: Setting) -> Case:
    """A DARTS supernet in float64, with α ≠ 0 so that probabilities differ."""
    rng = np.random.default_rng(setting.seed)
    make = partial(
        DartsSupernet,
        init_channels=setting.init_channels,
        num_cells=setting.num_cells,
        num_classes=NUM_CLASSES,
    )
    shape = (setting.batch_size, 3, setting.image_size, setting.image_size)
    return Case(
        net=build(make, seed=setting.seed, dtype=torch.float64),
        x=torch.from_numpy(rng.standard_normal(shape)),
        y=torch.from_numpy(rng.integers(NUM_CLASSES, size=setting.batch_size)),
        loss=LOSSES[setting.loss],
        cell_types=cell_types(setting.num_cells),
        architecture=sample_architecture(
            SPACE,
            cell_types(setting.num_cells),
            rng,
            sample_per=setting.sample_per,
            temperature=setting.temperature,
            alpha=rng.standard_normal(SPACE.num_logits),
        ),
    )


def k_hot(case: Case) -> dict[tuple[int, int], Tensor]:
    """(cell, decision) -> h, float64, differentiable, one tensor per choice point."""
    space = case.architecture.space
    weights = {}
    for cell, cell_type in enumerate(case.cell_types):
        for d in space.cell_types[cell_type]:
            h = torch.zeros(space.decisions[d].size, dtype=torch.float64)
            h[list(case.architecture.at(cell, d))] = 1.0
            weights[cell, d] = h.requires_grad_()
    return weights


def weighted_trace_norm(case: Case, weights: Mapping[tuple[int, int], Tensor]) -> Tensor:
    """e(h) of the whole one-shot network; differentiable in the weights h if they ask for it."""
    mixer = WeightedMixer(lambda cell, decision: weights[cell, decision])
    params = list(case.net.parameters())
    value = case.loss(case.net(case.x, mixer), case.y)
    differentiable = any(h.requires_grad for h in weights.values())
    v = torch.autograd.grad(value, params, create_graph=differentiable)
    return torch.stack([g.square().sum() for g in v]).sum()
