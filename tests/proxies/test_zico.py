from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from torch import nn

from nasi_ray.errors import ConfigError, ProxyFailedError
from nasi_ray.proxies import get_proxy, zico
from tests.proxies.nets import LOSS, batch, norm_net, plain_net, weight_grads


def by_loops(net: nn.Module, num_batches: int, signed: bool) -> float:
    x, y = batch()
    size = len(x) // num_batches
    batches = [
        [grad.flatten().tolist() for _, grad in weight_grads(net, *part)]
        for part in zip(x.split(size), y.split(size), strict=True)
    ]
    total = 0.0
    for layer in range(len(batches[0])):
        ratios = []
        for entries in zip(*(grads[layer] for grads in batches), strict=True):
            spread = np.std(entries if signed else np.abs(entries))
            if spread > 0:
                ratios.append(np.mean(np.abs(entries)) / spread)
        total += np.log(sum(ratios)) if ratios else 0.0
    return total


@pytest.mark.parametrize("num_batches", [2, 3, 6])
@pytest.mark.parametrize("make", [plain_net, norm_net])
def test_it_is_that_of_each_batch_gradient(make: Callable[[], nn.Module], num_batches: int) -> None:
    if make is norm_net and num_batches == 6:
        num_batches = 3
    x, y = batch()
    score = zico.score(make(), x, y, loss=LOSS, num_batches=num_batches)
    assert score == pytest.approx(by_loops(make(), num_batches, signed=False), rel=1e-9)
    signed = zico.score(make(), x, y, loss=LOSS, num_batches=num_batches, deviation="signed")
    assert signed == pytest.approx(by_loops(make(), num_batches, signed=True), rel=1e-9)
    assert signed < score


def test_two_batches_unless_told_otherwise() -> None:
    x, y = batch()
    expected = zico.score(plain_net(), x, y, loss=LOSS, num_batches=2)
    assert get_proxy("zico").score(plain_net(), x, y, loss=LOSS) == expected


def test_equal_batches_are_a_failure() -> None:
    x, y = batch()
    x[3:], y[3:] = x[:3].clone(), y[:3].clone()
    with pytest.raises(ProxyFailedError, match="no gradient differs"):
        get_proxy("zico").score(plain_net(), x, y, loss=LOSS)


@pytest.mark.parametrize("num_batches", [1, 4, 7])
def test_batch_that_cannot_be_cut_is_refused(num_batches: int) -> None:
    x, y = batch()
    with pytest.raises(ConfigError, match=f"num_batches is {num_batches} and there are 6 images"):
        zico.score(plain_net(), x, y, loss=LOSS, num_batches=num_batches)
