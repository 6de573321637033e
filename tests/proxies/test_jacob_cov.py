from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from torch import nn

from nasi_ray.errors import ProxyFailedError
from nasi_ray.proxies import get_proxy
from tests.proxies.nets import LOSS, batch, norm_net, plain_net


@pytest.mark.parametrize("make", [plain_net, norm_net])
def test_it_is_that_of_the_correlations_of_the_jacobians(make: Callable[[], nn.Module]) -> None:
    x, y = batch()
    net = make()
    images = x.clone().requires_grad_()
    net(images).sum().backward()
    assert images.grad is not None
    rows = images.grad.flatten(start_dim=1).numpy()
    n = len(rows)
    correlation = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            a, b = rows[i] - rows[i].mean(), rows[j] - rows[j].mean()
            correlation[i, j] = a @ b / np.sqrt((a @ a) * (b @ b))
    eigenvalues = np.linalg.eigvals(correlation).real
    expected = -sum(np.log(v + 1e-5) + 1 / (v + 1e-5) for v in eigenvalues)
    score = get_proxy("jacob_cov").score(make(), x, y, loss=LOSS)
    assert score == pytest.approx(expected, rel=1e-9)


def test_it_is_larger_the_less_the_images_are_alike() -> None:
    x, y = batch(size=4)
    alike = x[:1] + 1e-3 * x
    score = get_proxy("jacob_cov").score
    assert score(plain_net(), x, y, loss=LOSS) > score(plain_net(), alike, y, loss=LOSS)
    # At the most all eigenvalues are 1.
    assert score(plain_net(), x, y, loss=LOSS) < -4 * (np.log(1 + 1e-5) + 1 / (1 + 1e-5)) + 1e-9


def test_constant_jacobian_is_a_failure() -> None:
    x, y = batch()
    linear = nn.Linear(3, 3)
    nn.init.constant_(linear.weight, 0.5)
    average = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear).double()
    with pytest.raises(ProxyFailedError, match="jacob_cov gives no score"):
        get_proxy("jacob_cov").score(average, x, y, loss=LOSS)
