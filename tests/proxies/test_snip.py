from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.func import functional_call

from nasi_ray.proxies import get_proxy
from tests.proxies.nets import LOSS, batch, norm_net, plain_net, weight_grads


@pytest.mark.parametrize("make", [plain_net, norm_net])
def test_it_is_the_sum_of_weight_times_gradient(make: Callable[[], nn.Module]) -> None:
    x, y = batch()
    expected = sum(
        abs(w * g)
        for weight, grad in weight_grads(make(), x, y)
        for w, g in zip(weight.flatten().tolist(), grad.flatten().tolist(), strict=True)
    )
    score = get_proxy("snip").score(make(), x, y, loss=LOSS)
    assert score == pytest.approx(expected, rel=1e-12)
    assert score > 0


def test_it_is_the_sensitivity_to_a_mask_of_ones() -> None:
    net, (x, y) = plain_net(), batch()
    names = [name for name, p in net.named_parameters() if p.dim() > 1]
    masks = {name: torch.ones_like(net.get_parameter(name), requires_grad=True) for name in names}
    masked = {name: net.get_parameter(name).detach() * mask for name, mask in masks.items()}
    LOSS(functional_call(net, masked, (x,)), y).backward()
    expected = sum(float(m.grad.abs().sum()) for m in masks.values() if m.grad is not None)
    assert get_proxy("snip").score(net, x, y, loss=LOSS) == pytest.approx(expected, rel=1e-12)
