"""Grad norm: the sum over layers of the norm of the weights' gradient."""

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
    """Σ_l ‖∂L/∂W_l‖₂ over convolutions and linear layers.

    The paper says the norm of the gradient. Its code, which gave the published correlations, sums
    the layers' norms. See ``base.Score`` for arguments and errors.
    """
    copy = private_copy(net)
    params = list(weights(copy).values())
    grads = mean_gradient(copy, params, x, y, loss=loss, micro_batch_size=micro_batch_size)
    return finite("grad_norm", torch.stack([torch.linalg.vector_norm(g) for g in grads]).sum())


GRAD_NORM = Proxy(
    name="grad_norm",
    score=score,
    higher_is_better=True,
    paper="Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS",
    year=2021,
    needs_labels=True,
    description="sum over layers of the norm of the weights' gradient",
)
