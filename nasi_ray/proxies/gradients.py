"""What several proxies share: a private copy of the network, its weights, ∇_θ of the mean loss."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasi_ray.errors import ConfigError
from nasi_ray.nasi.gradient import Loss
from nasi_ray.networks.batch_norm import BatchNorm


def private_copy(net: nn.Module, *, dtype: torch.dtype | None = None) -> nn.Module:
    """Copy a network, so that running statistics, hooks and gradients never touch the original.

    Args:
        net: The network.
        dtype: Type of the copy; None for the network's own.

    Returns:
        The copy; every parameter requires a gradient and has none.
    """
    result = copy.deepcopy(net).requires_grad_(True)
    result.zero_grad(set_to_none=True)
    return result if dtype is None else result.to(dtype)


def weights(net: nn.Module) -> dict[str, Tensor]:
    """The weights of convolutions and linear layers, by layer; no biases, no batch norm."""
    return {
        name: module.weight
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def uses_batch_statistics(module: nn.Module) -> bool:
    """Whether a module is a batch norm that uses the batch's statistics in its present mode."""
    if isinstance(module, _BatchNorm):
        return module.training or module.running_mean is None
    return isinstance(module, BatchNorm)


def couples_examples(net: nn.Module) -> bool:
    """Whether an output depends on the other images of the batch."""
    return any(uses_batch_statistics(module) for module in net.modules())


def micro_batches(
    net: nn.Module, x: Tensor, y: Tensor, size: int | None
) -> list[tuple[Tensor, Tensor, float]]:
    """Split a batch.

    Args:
        net: The network that will get the parts.
        x: Images, shape (batch, channels, height, width).
        y: Labels, shape (batch,).
        size: Images of a part (≥ 1), the last perhaps fewer; None for one part.

    Returns:
        Images, labels and share n/N of the batch; a mean over the batch is the sum of the parts'
        means times their shares.

    Raises:
        ConfigError: If the size is below 1, or there are several parts and batch norm couples them.
    """
    if size is None or size >= len(x):
        return [(x, y, 1.0)]
    if size < 1:
        raise ConfigError(
            f"micro_batch_size is {size}; give 1 or more, or none for the whole batch"
        )
    if couples_examples(net):
        raise ConfigError(
            f"micro_batch_size is {size} and the batch has {len(x)} images, whose statistics the "
            "network's batch norm takes together; use no micro-batches, a smaller batch, or batch "
            "norm in eval mode"
        )
    return [
        (part, labels, len(part) / len(x))
        for part, labels in zip(x.split(size), y.split(size), strict=True)
    ]


def mean_gradient(
    net: nn.Module,
    params: Sequence[Tensor],
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    micro_batch_size: int | None,
) -> list[Tensor]:
    """∇_θ of the mean loss over a batch, in float64.

    Args:
        net: The network; its running statistics may change.
        params: What to differentiate by.
        x: Images, shape (batch, channels, height, width).
        y: Labels, shape (batch,).
        loss: Mean loss over the batch.
        micro_batch_size: Images at a time; None for the whole batch.

    Returns:
        One gradient per parameter; zeros for one that the loss does not depend on.
    """
    total = [torch.zeros_like(p, dtype=torch.float64) for p in params]
    for part, labels, share in micro_batches(net, x, y, micro_batch_size):
        grads = torch.autograd.grad(
            loss(net(part), labels), params, allow_unused=True, materialize_grads=True
        )
        for accumulated, grad in zip(total, grads, strict=True):
            accumulated.add_(grad, alpha=share)
    return total
