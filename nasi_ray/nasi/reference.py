"""The exact gradient again, slow and obvious: double backward through the whole one-shot network.

For tests and benchmarks; ``gradient.py`` computes the same on the sampled path only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasi_ray.nasi.gradient import Loss
from nasi_ray.nasi.gumbel import Architecture
from nasi_ray.networks.mixture import PathMixer, WeightedMixer


def trace_norm_and_alpha_gradient(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    architecture: Architecture,
    sampled_parameters_only: bool = False,
) -> tuple[Tensor, Tensor]:
    """Compute e and ∇_α e by automatic differentiation of e(h(α)) with h straight-through.

    Args:
        net: Supernet, called as ``net(x, mixer)``.
        x: Images, shape (batch, channels, height, width).
        y: Labels, shape (batch,).
        loss: Mean loss over the batch.
        architecture: The sample; its surrogates hold the noise.
        sampled_parameters_only: Leave the parameters off the sampled path out of ‖∇_θ L‖². Their
            gradient is zero, and so is its contribution to ∇_h e; cheaper, less obvious.

    Returns:
        e, a scalar, and ∇_α e, shape (num_logits,), of the network's type.
    """
    space = architecture.space
    zeros = x.new_zeros(space.num_logits, requires_grad=True)
    weights = {
        (draw, d): _straight_through(architecture, draw, d, zeros)
        for draw, d in architecture.chosen
    }
    mixer = WeightedMixer(lambda cell, d: weights[architecture.draw_of_cell[cell], d])
    params = list(net.parameters())
    if sampled_parameters_only:
        path_loss = loss(net(x, PathMixer(architecture.at)), y)
        grads = torch.autograd.grad(path_loss, params, allow_unused=True)
        params = [p for p, g in zip(params, grads, strict=True) if g is not None]
    value = loss(net(x, mixer), y)
    v = torch.autograd.grad(value, params, create_graph=True)
    e = torch.stack([g.square().sum() for g in v]).sum()
    (gradient,) = torch.autograd.grad(e, [zeros])
    return e.detach(), gradient


def _straight_through(architecture: Architecture, draw: int, d: int, alpha_shift: Tensor) -> Tensor:
    """One-hot h in value, k·softmax((α + g)/τ) in gradient."""
    decision = architecture.space.decisions[d]
    perturbed = torch.from_numpy(architecture.perturbed[draw, d]).to(alpha_shift)
    shifted = (perturbed + alpha_shift[architecture.space.slices[d]]) / architecture.temperature
    soft = decision.num_chosen * F.softmax(shifted, dim=0)
    hard = torch.zeros_like(soft)
    hard[list(architecture.chosen[draw, d])] = 1.0
    return hard + (soft - soft.detach())  # in this order h is exactly one-hot
