"""θ0: PyTorch's default initialisation, drawn from a generator of one's own.

The distributions are those of ``torch.nn``'s ``reset_parameters``; the global generator is left
alone, so that θ0 depends on the search seed and on nothing that ran before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain

import torch
from torch import nn

from nasi_ray.networks.batch_norm import BatchNorm


def build(make: Callable[[], nn.Module], *, seed: int, dtype: torch.dtype) -> nn.Module:
    """Build a network with freshly drawn parameters, on the CPU.

    Args:
        make: Constructor; its own initialisation is not run. Batch norm starts with γ = 1, β = 0.
        seed: Seed of the draw, in [0, 2⁶³).
        dtype: Type of the parameters; the draw is in float64 and rounded.

    Returns:
        The network, its parameters drawn in the order of ``modules()``.

    Raises:
        TypeError: If a module with parameters or buffers is neither convolution nor linear layer
            nor batch norm.
    """
    with torch.device("meta"):
        net = make()
    net = net.to(torch.float64).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            _draw(module, generator)
        elif isinstance(module, BatchNorm | nn.BatchNorm2d):
            module.reset_parameters()
        elif any(True for _ in chain(module.parameters(False), module.buffers(False))):
            raise TypeError(f"no initialisation is defined for {type(module).__name__}")
    return net.to(dtype)


def _draw(layer: nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
    # kaiming_uniform with a = √5 is U(±1/√fan_in) for the weight, as for the bias.
    bound = 1 / math.sqrt(layer.weight[0].numel())
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        if layer.bias is not None:
            layer.bias.uniform_(-bound, bound, generator=generator)
