from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

from nasi_ray.proxies import get_proxy
from tests.proxies.nets import LOSS, batch, norm_net, plain_net, weight_grads


@pytest.mark.parametrize("make", [plain_net, norm_net])
def test_it_is_the_sum_of_the_layers_norms(make: Callable[[], nn.Module]) -> None:
    x, y = batch()
    expected = sum(
        sum(entry**2 for entry in grad.flatten().tolist()) ** 0.5
        for _, grad in weight_grads(make(), x, y)
    )
    score = get_proxy("grad_norm").score(make(), x, y, loss=LOSS)
    assert score == pytest.approx(expected, rel=1e-12)
    assert score > 0
