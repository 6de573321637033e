"""SNIP: connection sensitivity, summed over the network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasi_ray.nasi.gradient import Loss
from nasi_ray.proxies.base import Proxy, finite
from nasi_ray.proxies.gradients import mean_gradient, private_copy, weights


def score(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    micro_batch_size: int | None = None,
    seed: int = 0,
) -> float:
    """Σ |θ ⊙ ∂L/∂θ| over the weights of convolutions and linear layers.

    The derivative of the loss by a mask of ones is θ ⊙ ∂L/∂θ, so no mask is needed. The paper
    divides by this very sum, to prune; as a proxy the sum itself is used. See ``base.Score`` for
    arguments and errors.
    """
    copy = private_copy(net)
    params = list(weights(copy).values())
    grads = mean_gradient(copy, params, x, y, loss=loss, micro_batch_size=micro_batch_size)
    parts = [(p.detach() * g).abs().sum() for p, g in zip(params, grads, strict=True)]
    return finite("snip", torch.stack(parts).sum())


SNIP = Proxy(
    name="snip",
    score=score,
    higher_is_better=True,
    paper="Lee et al., SNIP: Single-shot Network Pruning based on Connection Sensitivity",
    year=2019,
    needs_labels=True,
    description="how much the loss depends on the presence of each weight, summed",
)
