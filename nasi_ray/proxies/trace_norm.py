"""Trace norm: NASI's approximation of the NTK's trace norm, the one the search maximises."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasi_ray.nasi.gradient import Loss
from nasi_ray.proxies.base import Proxy, finite
from nasi_ray.proxies.gradients import mean_gradient, private_copy


def score(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    micro_batch_size: int | None = None,
    seed: int = 0,
) -> float:
    """‖∇_θ L(θ0)‖² over all parameters (NASI, eq. 11-12).

    The e of ``nasi.gradient.trace_norm``, for a network without choices. See ``base.Score`` for
    arguments and errors.
    """
    copy = private_copy(net)
    params = list(copy.parameters())
    grads = mean_gradient(copy, params, x, y, loss=loss, micro_batch_size=micro_batch_size)
    return finite("trace_norm", torch.stack([g.square().sum() for g in grads]).sum())


TRACE_NORM = Proxy(
    name="trace_norm",
    score=score,
    higher_is_better=True,
    paper="Shu et al., NASI: Label- and Data-agnostic Neural Architecture Search at Initialization",
    year=2022,
    needs_labels=True,
    description="squared norm of the gradient of the mean loss; the paper bounds it from above",
)
