"""jacob_cov: how little correlated the input Jacobians of different images are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasi_ray.errors import ProxyFailedError
from nasi_ray.nasi.gradient import Loss
from nasi_ray.proxies.base import Proxy, finite
from nasi_ray.proxies.gradients import micro_batches, private_copy

OFFSET = 1e-5
"""k, added to the eigenvalues."""


def score(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    micro_batch_size: int | None = None,
    seed: int = 0,
) -> float:
    """−Σ_i [log(λ_i + k) + 1/(λ_i + k)], λ the eigenvalues of the Jacobians' correlation matrix.

    Row i is ∂(Σ_c f_c)/∂x_i; where batch norm couples the batch, the sum runs over the outputs of
    all images. Eigenvalues are in float64. See ``base.Score`` for arguments and errors.
    """
    copy = private_copy(net).requires_grad_(False)
    rows = []
    for part, _, _ in micro_batches(copy, x, y, micro_batch_size):
        images = part.detach().clone().requires_grad_()
        outputs = copy(images).sum()
        if not outputs.requires_grad:
            raise ProxyFailedError("jacob_cov", "the outputs do not depend on the images")
        (grad,) = torch.autograd.grad(outputs, [images])
        rows.append(grad.flatten(start_dim=1).double())
    correlation = torch.corrcoef(torch.cat(rows))
    if not bool(correlation.isfinite().all()):
        raise ProxyFailedError(
            "jacob_cov", "an image's Jacobian is constant or not finite, so has no correlation"
        )
    shifted = torch.linalg.eigvalsh(torch.atleast_2d(correlation)) + OFFSET
    return finite("jacob_cov", -(shifted.log() + 1 / shifted).sum())


JACOB_COV = Proxy(
    name="jacob_cov",
    score=score,
    higher_is_better=True,
    paper="Mellor et al., Neural Architecture Search without Training (first version)",
    year=2020,
    needs_labels=False,
    description="how uncorrelated the input Jacobians of the images are",
)
