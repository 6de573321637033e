"""Small supernets in float64, and their gradients by both ways."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasi_ray.arrays import FloatArray
from nasi_ray.nasi.gradient import trace_norm_and_gradient
from nasi_ray.nasi.gumbel import Architecture, sample_architecture
from nasi_ray.nasi.loss import cross_entropy
from nasi_ray.nasi.reference import trace_norm_and_alpha_gradient
from nasi_ray.networks.by_space import networks_of
from nasi_ray.networks.initialization import build
from nasi_ray.spaces import get_space

NUM_CLASSES = 3


def small_net(
    space: str, *, num_cells: int, seed: int = 0, channels: int = 2, **options: Any
) -> nn.Module:
    """A supernet in float64, its γ and β moved away from 1 and 0; options are ``build``'s."""
    make = partial(
        networks_of(get_space(space)).supernet,
        init_channels=channels,
        num_cells=num_cells,
        num_classes=NUM_CLASSES,
    )
    net = build(make, seed=seed, dtype=torch.float64, **options)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() == 1:
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(0.3 * noise)
    return net


def batch(*, seed: int = 0, size: int = 8, images: int = 4) -> tuple[Tensor, Tensor]:
    """Random images and labels."""
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.standard_normal((images, 3, size, size)))
    return x, torch.from_numpy(rng.integers(NUM_CLASSES, size=images))


def draw(space: str, *, num_cells: int, sample_per: str, seed: int) -> Architecture:
    """A sample, with α ≠ 0 so that probabilities differ."""
    rng = np.random.default_rng(seed)
    return sample_architecture(
        get_space(space),
        networks_of(get_space(space)).cell_types(num_cells),
        rng,
        sample_per=sample_per,
        temperature=1.0,
        alpha=0.5 * rng.standard_normal(get_space(space).num_logits),
    )


@dataclass(frozen=True, slots=True)
class Gradients:
    """e and ∇_α e on the sampled path, and by double backward through everything."""

    e: float
    reference_e: float
    gradient: FloatArray
    reference: FloatArray

    @property
    def error(self) -> float:
        """Largest difference, relative to the largest entry."""
        return float(np.abs(self.gradient - self.reference).max() / np.abs(self.reference).max())


def gradients(net: nn.Module, x: Tensor, y: Tensor, architecture: Architecture) -> Gradients:
    """Evaluate both ways."""
    e, h = trace_norm_and_gradient(net, x, y, loss=cross_entropy, chosen=architecture.at)
    reference_e, reference = trace_norm_and_alpha_gradient(
        net, x, y, loss=cross_entropy, architecture=architecture
    )
    gradient = architecture.straight_through({at: g.numpy() for at, g in h.items()})
    return Gradients(float(e), float(reference_e), gradient, reference.numpy())
