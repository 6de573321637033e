"""NTK trace: the exact trace norm of the neural tangent kernel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasi_ray.nasi.gradient import Loss
from nasi_ray.proxies.base import Proxy, finite
from nasi_ray.proxies.gradients import private_copy
from nasi_ray.proxies.jacobian import jacobian_rows


def score(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    micro_batch_size: int | None = None,
    seed: int = 0,
) -> float:
    """‖Θ0‖_tr = Σ_ic ‖∂f_ic/∂θ‖² over all parameters (NASI, eq. 9).

    Costs batch·classes backward passes: of one image each, or, where batch norm is in training
    mode, of the whole batch. Memory is one row of the Jacobian.

    Args:
        net: See ``base.Score``.
        x: See ``base.Score``.
        y: Not used.
        loss: Not used.
        micro_batch_size: Not used; see above.
        seed: Not used.

    Raises:
        ProxyFailedError: If it is not finite.
    """
    copy = private_copy(net)
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for row in jacobian_rows(copy, list(copy.parameters()), x):
        total += row.double().square().sum()
    return finite("ntk_trace", total)


NTK_TRACE = Proxy(
    name="ntk_trace",
    score=score,
    higher_is_better=True,
    paper="Shu et al., NASI: Label- and Data-agnostic Neural Architecture Search at Initialization",
    year=2022,
    needs_labels=False,
    description="exact trace norm of the neural tangent kernel of the batch",
)
