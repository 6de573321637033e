from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasi_ray.errors import ProxyFailedError
from nasi_ray.proxies import get_proxy
from tests.proxies.nets import LOSS, batch, norm_net, plain_net


def log_determinant(codes: Tensor) -> float:
    """Of N_A − Hamming distance, entry by entry."""
    n, units = codes.shape
    kernel = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            kernel[i, j] = units - sum(
                a != b for a, b in zip(codes[i].tolist(), codes[j].tolist(), strict=True)
            )
    return float(np.log(np.linalg.det(kernel)))


def test_it_is_the_log_determinant_of_the_codes_that_lead_to_the_outputs() -> None:
    net, (x, y) = plain_net(), batch()
    first = net.first(x)
    second = net.second(F.relu(first))
    codes = torch.cat([first.flatten(1) > 0, second.flatten(1) > 0], dim=1)
    score = get_proxy("naswot").score(net, x, y, loss=LOSS)
    assert score == pytest.approx(log_determinant(codes), rel=1e-10)


def test_relu_modules_and_work_in_place_count_too() -> None:
    net, (x, y) = norm_net(), batch()
    conv1, norm1, _, conv2, norm2, *_ = net.body
    first = norm1(conv1(x))
    second = norm2(conv2(F.relu(first)))
    codes = torch.cat([first.flatten(1) > 0, second.flatten(1) > 0], dim=1)
    score = get_proxy("naswot").score(norm_net(), x, y, loss=LOSS)
    assert score == pytest.approx(log_determinant(codes), rel=1e-10)


RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu": F.relu,
    "F.relu, in place": lambda x: F.relu(x, inplace=True),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": lambda x: x.relu(),
    "Tensor.relu_": lambda x: x.relu_(),
    "nn.ReLU": nn.ReLU(),
}


@pytest.mark.parametrize("relu", RELUS.values(), ids=list(RELUS))
def test_every_way_to_call_relu_counts(relu: Callable[[Tensor], Tensor]) -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return relu(2 * x).mean(dim=(2, 3))

    x, y = batch()
    expected = log_determinant(x.flatten(1) > 0)
    assert get_proxy("naswot").score(Net(), x, y, loss=LOSS) == pytest.approx(expected, rel=1e-10)


def test_equal_codes_are_a_failure() -> None:
    x, y = batch()
    x[3] = x[1]
    with pytest.raises(ProxyFailedError, match="singular"):
        get_proxy("naswot").score(plain_net(), x, y, loss=LOSS)


def test_network_without_relu_is_a_failure() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(108, 3)).double()
    x, y = batch()
    with pytest.raises(ProxyFailedError, match="singular"):
        get_proxy("naswot").score(net, x, y, loss=LOSS)
