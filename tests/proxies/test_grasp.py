from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from nasi_ray.proxies import get_proxy
from tests.proxies.nets import LOSS, batch, norm_net, plain_net

NETWORKS = [plain_net, norm_net]


def loss_of_weights(net: nn.Module, x: Tensor, y: Tensor) -> tuple[Callable[..., Tensor], Tensor]:
    """The loss as a function of one vector of all convolution and linear weights, and it."""
    names = [name for name, p in net.named_parameters() if p.dim() > 1]
    params = [net.get_parameter(name).detach() for name in names]

    def loss(vector: Tensor) -> Tensor:
        parts = vector.split([p.numel() for p in params])
        theta = {name: part.view_as(p) for name, p, part in zip(names, params, parts, strict=True)}
        return LOSS(functional_call(net, theta, (x,)), y)

    return loss, torch.cat([p.flatten() for p in params])


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("make", NETWORKS)
def test_it_is_that_of_the_explicit_hessian(make: Callable[[int], nn.Module], seed: int) -> None:
    x, y = batch(seed)
    loss, theta = loss_of_weights(make(seed), x, y)
    hessian: Tensor = torch.autograd.functional.hessian(loss, theta)
    (g,) = torch.autograd.grad(loss(theta.requires_grad_()), [theta])
    expected = -float(theta.detach() @ hessian @ g)
    score = get_proxy("grasp").score(make(seed), x, y, loss=LOSS)
    assert score == pytest.approx(expected, rel=1e-9)
    assert abs(score) > 1e-6


def test_it_is_positive_where_shrinking_the_weights_would_raise_the_gradient() -> None:
    x, y = batch()
    loss, theta = loss_of_weights(plain_net(), x, y)

    def squared_gradient(scale: float) -> float:
        point = (scale * theta).requires_grad_()
        (g,) = torch.autograd.grad(loss(point), [point])
        return float(g.square().sum())

    slope = (squared_gradient(1 - 1e-6) - squared_gradient(1 + 1e-6)) / 2e-6 / 2
    assert get_proxy("grasp").score(plain_net(), x, y, loss=LOSS) == pytest.approx(slope, rel=1e-6)
