"""NASWOT: how well the signs of the ReLUs tell the images of a batch apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasi_ray.errors import ProxyFailedError
from nasi_ray.nasi.gradient import Loss
from nasi_ray.networks.relu_codes import code_kernel, log_determinant, relu_codes
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
    """Log-determinant log |det K_H| of K_H[i, j] = N_A − d_H(c_i, c_j).

    c_i is the binary code of image i: whether each of the N_A ReLU outputs is positive; d_H is
    the Hamming distance. As in the authors' code, only the ReLUs that lead to the outputs count,
    whether modules or function calls. See ``base.Score`` for arguments.

    Raises:
        ProxyFailedError: If K_H is singular (images with equal codes, no ReLUs), or outputs are not
            finite.
        ConfigError: If a micro-batch is smaller than the batch and batch norm couples images.
    """
    copy = private_copy(net).requires_grad_(False)
    codes = [_codes(copy, part) for part, _, _ in micro_batches(copy, x, y, micro_batch_size)]
    joined = [torch.cat(parts) for parts in zip(*codes, strict=True)]
    found = log_determinant(code_kernel(joined)) if joined else None
    if found is None:
        raise ProxyFailedError("naswot", "its kernel is singular: images have dependent ReLU codes")
    return finite("naswot", found)


def _codes(net: nn.Module, x: Tensor) -> list[Tensor]:
    """Of each ReLU that leads to the outputs: which outputs are positive, shape (batch, units)."""
    outputs = net(x.detach().clone().requires_grad_())
    # A NaN is not positive, and would pass for a ReLU that is off.
    finite("naswot", outputs.detach().sum())
    return relu_codes(outputs)


NASWOT = Proxy(
    name="naswot",
    score=score,
    higher_is_better=True,
    paper="Mellor et al., Neural Architecture Search without Training",
    year=2021,
    needs_labels=False,
    description="log-determinant of the kernel of binary ReLU codes",
)
