from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nasi_ray.nasi import gradient
from nasi_ray.proxies import get_proxy
from tests.proxies.nets import LOSS, batch, norm_net, plain_net


class WithoutChoices(nn.Module):
    """A network as the search's function calls it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, mixer: object) -> Tensor:
        logits: Tensor = self.net(x)
        return logits


@pytest.mark.parametrize("make", [plain_net, norm_net])
def test_it_is_the_search_own_trace_norm(make: Callable[[], nn.Module]) -> None:
    x, y = batch()
    expected, _ = gradient.trace_norm(
        WithoutChoices(make()), x, y, loss=LOSS, chosen=lambda cell, decision: (0,)
    )
    score = get_proxy("trace_norm").score(make(), x, y, loss=LOSS)
    assert score == pytest.approx(float(expected), rel=1e-12)
    assert score > 0


def test_every_parameter_counts() -> None:
    net, (x, y) = norm_net(), batch()
    score = get_proxy("trace_norm").score(net, x, y, loss=LOSS)
    LOSS(net(x), y).backward()
    each = {
        name: float(p.grad.square().sum())
        for name, p in net.named_parameters()
        if p.grad is not None
    }
    assert score == pytest.approx(sum(each.values()), rel=1e-12)
    assert each["body.1.weight"] > 0
    assert each["classifier.bias"] > 0
    assert torch.is_tensor(net.classifier.bias.grad)
