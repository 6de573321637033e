"""GraSP: how removing weights would change the gradient's norm, summed over the network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasi_ray.nasi.gradient import Loss
from nasi_ray.proxies.base import Proxy, finite
from nasi_ray.proxies.gradients import mean_gradient, micro_batches, private_copy, weights


def score(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    micro_batch_size: int | None = None,
    seed: int = 0,
) -> float:
    """−Σ θ ⊙ H g, with g and H the loss's gradient and Hessian by the weights.

    The weights are those of convolutions and linear layers. The logits are not divided by the
    temperature of 200 that the paper prunes with; neither does the code of Abdelfattah et al.
    Under batch norm the sum is what is left of terms as large as the trace norm that cancel at
    initialisation; in float32 some 3e-5 of those is noise. See ``base.Score`` for arguments and
    errors.
    """
    copy = private_copy(net)
    params = list(weights(copy).values())
    g = mean_gradient(copy, params, x, y, loss=loss, micro_batch_size=micro_batch_size)
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for part, labels, share in micro_batches(copy, x, y, micro_batch_size):
        grads = torch.autograd.grad(
            loss(copy(part), labels),
            params,
            create_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        product = torch.stack([(a * b.to(a.dtype)).sum() for a, b in zip(grads, g, strict=True)])
        hessian_g = torch.autograd.grad(
            product.sum(), params, allow_unused=True, materialize_grads=True
        )
        for p, h in zip(params, hessian_g, strict=True):
            total -= share * (p.detach().double() * h).sum()
    return finite("grasp", total)


GRASP = Proxy(
    name="grasp",
    score=score,
    higher_is_better=True,
    paper="Wang et al., Picking Winning Tickets Before Training by Preserving Gradient Flow",
    year=2020,
    needs_labels=True,
    description="-theta H g: change of the gradient's norm if weights were removed, summed",
)
