"""ZiCo: mean over standard deviation of the gradients of several batches."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from nasi_ray.errors import ConfigError, ProxyFailedError
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
    num_batches: int = 2,
    deviation: Literal["magnitude", "signed"] = "magnitude",
) -> float:
    """Σ_l log Σ_{ω ∈ θ_l} E|∂L/∂ω| / √Var|∂L/∂ω| over convolutions and linear layers.

    The batch is cut into ``num_batches`` batches of equal size, over which mean and variance are
    taken; batch norm in training mode sees one of them at a time. Weights without variance are left
    out, and so are layers in which no weight has one.

    Args:
        net: See ``base.Score``.
        x: See ``base.Score``.
        y: See ``base.Score``.
        loss: See ``base.Score``.
        micro_batch_size: See ``base.Score``; images of one of the batches.
        seed: Not used.
        num_batches: Batches (≥ 2).
        deviation: Quantity of the variance: |∂L/∂ω| as in the paper, or ∂L/∂ω as in its code
            (which also accumulates the gradients of batches; this is not done here).

    Raises:
        ProxyFailedError: If no gradient varies between the batches, or one is not finite.
        ConfigError: If there are fewer than 2 batches, the batch cannot be cut, or micro-batches
            are smaller than one and batch norm couples images.
    """
    if num_batches < 2 or len(x) % num_batches:
        raise ConfigError(
            f"num_batches is {num_batches} and there are {len(x)} images; give 2 or more, and a "
            "multiple of it as the batch size"
        )
    copy = private_copy(net)
    params = list(weights(copy).values())
    batches = [
        mean_gradient(copy, params, images, labels, loss=loss, micro_batch_size=micro_batch_size)
        for images, labels in zip(x.chunk(num_batches), y.chunk(num_batches), strict=True)
    ]
    layers = []
    for layer in zip(*batches, strict=True):
        grads = torch.stack(layer)
        magnitude = grads.abs()
        spread = (magnitude if deviation == "magnitude" else grads).std(dim=0, correction=0)
        varies = spread != 0  # NaN varies, and is found below
        if bool(varies.any()):
            layers.append((magnitude.mean(dim=0)[varies] / spread[varies]).sum().log())
    if not layers:
        raise ProxyFailedError("zico", "no gradient differs between the batches")
    return finite("zico", torch.stack(layers).sum())


ZICO = Proxy(
    name="zico",
    score=score,
    higher_is_better=True,
    paper="Li et al., ZiCo: Zero-shot NAS via Inverse Coefficient of Variation on Gradients",
    year=2023,
    needs_labels=True,
    description="log of the gradients' mean over standard deviation between batches, by layer",
)
