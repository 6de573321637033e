"""NTK condition: the condition number of the exact neural tangent kernel."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from nasi_ray.errors import ConfigError, ProxyFailedError
from nasi_ray.nasi.gradient import Loss
from nasi_ray.proxies.base import Proxy, finite
from nasi_ray.proxies.gradients import private_copy
from nasi_ray.proxies.jacobian import jacobian_rows

MAX_OUTPUTS = 1024
"""Largest number of outputs, batch·classes, of a kernel."""


def score(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    micro_batch_size: int | None = None,
    seed: int = 0,
    max_bytes: int = 1 << 30,
) -> float:
    """λ_max / λ_min of Θ0 = ∇f ∇fᵀ, shape (batch·classes, batch·classes), in float64.

    TE-NAS uses the kernel of the sum of an image's outputs; this is the whole kernel of eq. 1.
    Costs batch·classes backward passes, as ``ntk_trace``, for each group of parameters whose part
    of the Jacobian fits ``max_bytes``.

    Args:
        net: See ``base.Score``.
        x: See ``base.Score``; at most ``MAX_OUTPUTS`` outputs in all.
        y: Not used.
        loss: Not used.
        micro_batch_size: Not used; see above.
        seed: Not used.
        max_bytes: Memory for the Jacobian, but at least the part of one parameter tensor.

    Raises:
        ProxyFailedError: If the kernel is singular or not finite.
        ConfigError: If there are too many outputs.
    """
    copy = private_copy(net, dtype=torch.float64)
    images = x.double()
    with torch.no_grad():
        num_outputs = copy(images).numel()
    if num_outputs > MAX_OUTPUTS:
        raise ConfigError(
            f"the NTK of {len(x)} images has {num_outputs} rows; at most {MAX_OUTPUTS} are "
            "allowed: use a smaller batch"
        )
    kernel = images.new_zeros((num_outputs, num_outputs))
    for group in _groups(copy.parameters(), max_bytes // (8 * num_outputs)):
        rows = images.new_empty((num_outputs, sum(p.numel() for p in group)))
        for i, row in enumerate(jacobian_rows(copy, group, images)):
            rows[i] = row
        kernel.addmm_(rows, rows.T)
    return finite("ntk_condition", _condition(kernel))


def _condition(kernel: Tensor) -> float:
    if not bool(kernel.isfinite().all()):
        raise ProxyFailedError("ntk_condition", "the kernel is not finite")
    eigenvalues = torch.linalg.eigvalsh(kernel)
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    if smallest <= len(kernel) * torch.finfo(torch.float64).eps * largest:
        raise ProxyFailedError(
            "ntk_condition", f"the kernel is singular: eigenvalues {smallest:.3g} to {largest:.3g}"
        )
    return largest / smallest


def _groups(params: Iterable[Tensor], max_numel: int) -> list[list[Tensor]]:
    """Groups of consecutive parameters with at most so many numbers; larger ones stand alone."""
    groups: list[list[Tensor]] = []
    size = 0
    for p in params:
        if not groups or size + p.numel() > max_numel:
            groups.append([])
            size = 0
        groups[-1].append(p)
        size += p.numel()
    return groups


NTK_CONDITION = Proxy(
    name="ntk_condition",
    score=score,
    higher_is_better=False,
    paper="Chen et al., Neural Architecture Search on ImageNet in Four GPU Hours (TE-NAS)",
    year=2021,
    needs_labels=False,
    description="condition number of the exact neural tangent kernel of the batch",
)
