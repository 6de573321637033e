"""Fisher: the loss's estimated rise if channels were removed, summed over the network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nasi_ray.nasi.gradient import Loss
from nasi_ray.proxies.base import Proxy, finite
from nasi_ray.proxies.gradients import micro_batches, private_copy


def score(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    micro_batch_size: int | None = None,
    seed: int = 0,
) -> float:
    """Σ_c Δ_c with Δ_c = 1/(2N) Σ_n (Σ_ij a_nijc g_nijc)².

    a are the outputs of convolutions and linear layers, and g the gradient by them of the sum of
    the images' losses, so that g_n belongs to image n alone where batch norm couples nothing.
    The code of Abdelfattah et al. takes the mean loss (a constant factor of 1/N²) and counts a
    channel once for each of its weights; the formula counts it once. See ``base.Score`` for
    arguments and errors.
    """
    copy = private_copy(net)
    activations: list[Tensor] = []
    _record_outputs(copy, activations)
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for part, labels, _ in micro_batches(copy, x, y, micro_batch_size):
        activations.clear()
        summed = loss(copy(part), labels) * len(part)
        grads = torch.autograd.grad(summed, activations, allow_unused=True)
        for a, g in zip(activations, grads, strict=True):
            if g is not None:
                per_channel = (a.detach().double() * g).flatten(start_dim=2).sum(dim=2)
                total += per_channel.square().sum()
    return finite("fisher", total / (2 * len(x)))


def _record_outputs(net: nn.Module, outputs: list[Tensor]) -> None:
    def record(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        flat = output.unsqueeze(2) if output.dim() == 2 else output
        outputs.append(flat)
        # What follows may work in place, and must not change what was recorded.
        return flat.clone().view_as(output)

    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(record)


FISHER = Proxy(
    name="fisher",
    score=score,
    higher_is_better=True,
    paper="Turner et al., BlockSwap: Fisher-guided Block Substitution for Network Compression",
    year=2020,
    needs_labels=True,
    description="squared product of activation and its gradient per channel, summed",
)
