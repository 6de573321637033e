"""A space whose inputs are chosen two at a time, and its network: smooth, without batch norm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasi_ray.arrays import FloatArray
from nasi_ray.nasi.gumbel import sample_architecture
from nasi_ray.nasi.loss import LOSSES
from nasi_ray.networks.initialization import build
from nasi_ray.networks.mixture import Mixer
from nasi_ray.spaces.base import Decision, SearchSpace
from tests.nasi.cases import NUM_CLASSES, Case

NUM_INPUTS = 4
KERNEL_SIZES = (1, 3, 5)


class ToySpace(SearchSpace):
    """Two of four inputs, one of three operations, and a decision without alternatives."""

    @property
    def name(self) -> str:
        return "toy"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return (
            Decision("cell/inputs", tuple(f"input{i}" for i in range(NUM_INPUTS)), num_chosen=2),
            Decision("cell/op", tuple(f"conv_{k}x{k}" for k in KERNEL_SIZES)),
            Decision("cell/only", ("scale",)),
        )

    @property
    def cell_types(self) -> Mapping[str, Sequence[int]]:
        return {"cell": (0, 1, 2)}

    def select(self, alpha: Mapping[str, FloatArray], *, pairing: str = "rank") -> Any:
        return {name: int(np.argmax(logits)) for name, logits in alpha.items()}


class ToyNet(nn.Module):
    """Convolutions and tanh: smooth in θ and h, examples independent of one another."""

    def __init__(self, channels: int, num_cells: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.inputs = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(NUM_INPUTS))
            for _ in range(num_cells)
        )
        self.ops = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(channels, channels, k, padding=k // 2) for k in KERNEL_SIZES)
            for _ in range(num_cells)
        )
        self.classifier = nn.Linear(channels, NUM_CLASSES)

    def forward(self, x: Tensor, mixer: Mixer) -> Tensor:
        x = torch.tanh(self.stem(x))
        for cell, (inputs, ops) in enumerate(zip(self.inputs, self.ops, strict=True)):
            x = torch.tanh(mixer.mix(cell, 0, [partial(conv, x) for conv in _list(inputs)]))
            x = torch.tanh(mixer.mix(cell, 1, [partial(conv, x) for conv in _list(ops)]))
            x = mixer.mix(cell, 2, [partial(torch.mul, x, 1.5)])
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


def toy_case(seed: int, *, sample_per: str = "step", loss: str = "mse", num_cells: int = 2) -> Case:
    """A toy network in float64, six images and an architecture."""
    rng = np.random.default_rng(seed)
    space = ToySpace()
    return Case(
        net=build(partial(ToyNet, 3, num_cells), seed=seed, dtype=torch.float64),
        x=torch.from_numpy(rng.standard_normal((6, 3, 5, 5))),
        y=torch.from_numpy(rng.integers(NUM_CLASSES, size=6)),
        loss=LOSSES[loss],
        cell_types=("cell",) * num_cells,
        architecture=sample_architecture(
            space,
            ["cell"] * num_cells,
            rng,
            sample_per=sample_per,
            temperature=0.7,
            alpha=rng.standard_normal(space.num_logits),
        ),
    )


def _list(modules: nn.Module) -> list[nn.Module]:
    return list(modules.children())
