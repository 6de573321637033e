"""Number of parameters: the baseline that every proxy has to beat."""

from __future__ import annotations

from torch import Tensor, nn

from nasi_ray.nasi.gradient import Loss
from nasi_ray.proxies.base import Proxy, finite


def score(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    micro_batch_size: int | None = None,
    seed: int = 0,
) -> float:
    """All parameters, those of batch norm and those off every path included."""
    return finite("num_params", sum(p.numel() for p in net.parameters()))


NUM_PARAMS = Proxy(
    name="num_params",
    score=score,
    higher_is_better=True,
    paper="Ning et al., Evaluating Efficient Performance Estimators of Neural Architectures",
    year=2021,
    needs_labels=False,
    description="number of parameters, a baseline",
)
