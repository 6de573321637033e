"""SynFlow: synaptic flow through the network with the absolute values of its parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nasi_ray.nasi.gradient import Loss
from nasi_ray.networks.batch_norm import EPSILON
from nasi_ray.proxies.base import Proxy, finite
from nasi_ray.proxies.gradients import private_copy, uses_batch_statistics, weights


def score(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    micro_batch_size: int | None = None,
    seed: int = 0,
) -> float:
    """Σ |θ| ∂R/∂|θ|, with R the sum of the outputs for one image of ones; not log-scaled.

    All is in float64. As in the authors' code, the sum runs over the weights of convolutions and
    linear layers; biases and buffers are also replaced by their absolute values; and the network
    is in eval mode, so that batch norm divides by running statistics, a fixed scale that is
    1/√(1 + ε) in a fresh network. Batch norm without running statistics takes this fresh scale.
    Zero, if no path leads from the image to the outputs, is a score.

    Args:
        net: Called as ``net(x)``.
        x: Gives the shape of an image, and the device.
        y: Not used.
        loss: Not used.
        micro_batch_size: Not used; there is one image.
        seed: Not used.

    Returns:
        Non-negative.

    Raises:
        ProxyFailedError: If float64 overflows.
    """
    copy = private_copy(net, dtype=torch.float64).eval()
    with torch.no_grad():
        for value in copy.state_dict().values():
            value.abs_()
    for module in copy.modules():
        if uses_batch_statistics(module):
            module.register_forward_hook(_scale)
    params = list(weights(copy).values())
    ones = torch.ones((1, *x.shape[1:]), dtype=torch.float64, device=x.device)
    grads = torch.autograd.grad(copy(ones).sum(), params, allow_unused=True, materialize_grads=True)
    parts = [(p.detach() * g).abs().sum() for p, g in zip(params, grads, strict=True)]
    return finite("synflow", torch.stack(parts).sum())


def _scale(module: Any, args: tuple[Tensor], output: Tensor) -> Tensor:
    """Batch norm with mean 0 and variance 1 instead of the batch's statistics."""
    (x,) = args
    y: Tensor = x / (1 + getattr(module, "eps", EPSILON)) ** 0.5
    if module.weight is not None:
        shape = (1, -1, *(1,) * (x.dim() - 2))
        y = y * module.weight.view(shape) + module.bias.view(shape)
    return y


SYNFLOW = Proxy(
    name="synflow",
    score=score,
    higher_is_better=True,
    paper="Tanaka et al., Pruning neural networks without any data by conserving synaptic flow",
    year=2020,
    needs_labels=False,
    description="synaptic flow of the network of absolute values for an image of ones",
)
