"""The exact NTK of small networks by per-example Jacobians: slow, obvious, the reference for e."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev


def jacobian(net: nn.Module, x: Tensor, call: Callable[..., tuple[object, ...]]) -> Tensor:
    """∇_θ f(X; θ0), one row per output.

    Batch norm in training mode couples the examples of a batch, so f is the map from θ to the
    outputs of the whole batch, as the search sees it.

    Args:
        net: The network.
        x: Images, shape (batch, channels, height, width).
        call: x -> positional arguments of ``net`` (the images, and a mixer for a supernet).

    Returns:
        shape (batch·classes, params); memory grows with it, for small networks only.
    """
    params = {name: p.detach() for name, p in net.named_parameters()}

    def outputs(theta: dict[str, Tensor]) -> Tensor:
        result: Tensor = functional_call(net, theta, call(x))
        return result.flatten()

    rows = jacrev(outputs)(params)
    return torch.cat([rows[name].flatten(start_dim=1) for name in params], dim=1)


def ntk(jac: Tensor) -> Tensor:
    """Θ0 = ∇f ∇fᵀ (eq. 1).

    Args:
        jac: ∇_θ f, shape (batch·classes, params).

    Returns:
        shape (batch·classes, batch·classes), symmetric and positive semi-definite.
    """
    return jac @ jac.T


def ntk_trace(jac: Tensor) -> Tensor:
    """‖Θ0‖_tr = Σ_x ‖∇f(x)‖²_F (eq. 9), without forming Θ0.

    Args:
        jac: ∇_θ f, shape (batch·classes, params).
    """
    return jac.square().sum()
