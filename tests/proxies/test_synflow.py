from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasi_ray.proxies import get_proxy
from tests.proxies.nets import LOSS, NormNet, batch, norm_net, own_norm_net, stateless_norm_net

UNUSED = torch.zeros(1, dtype=torch.int64)


def test_it_is_the_sum_over_the_paths() -> None:
    # Every path carries |w1| |w2| |w3|, and is counted once for each of the three layers.
    layers = [nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False), nn.Linear(2, 3, bias=False)]
    net = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]).double()
    first, second, third = (layer.weight.detach().abs() for layer in layers)
    flow = sum(
        float(first[j, i] * second[k, j] * third[m, k])
        for i, j, k, m in product(range(3), range(4), range(2), range(3))
    )
    score = get_proxy("synflow").score(net, torch.zeros(5, 3), UNUSED, loss=LOSS)
    assert score == pytest.approx(3 * flow, rel=1e-12)
    assert any(bool((layer.weight < 0).any()) for layer in layers)


def by_hand(net: NormNet, scale: Callable[[Any, Tensor], Tensor]) -> float:
    """With batch norm written out; no ReLU, as nothing is negative."""
    conv1, norm1, _, conv2, norm2, *_ = net.body
    layers: list[Any] = [conv1, conv2, net.classifier]
    weights = [layer.weight.detach().abs().requires_grad_() for layer in layers]
    x = torch.ones((1, 3, 6, 6), dtype=torch.float64)
    x = scale(norm1, F.conv2d(x, weights[0], padding=1))
    x = scale(norm2, F.conv2d(x, weights[1]))
    outputs = F.linear(x.mean(dim=(2, 3)), weights[2], net.classifier.bias.detach().abs())
    grads = torch.autograd.grad(outputs.sum(), weights)
    return sum(float((w.detach() * g).sum()) for w, g in zip(weights, grads, strict=True))


def scale_of_running_statistics(norm: Any, x: Tensor) -> Tensor:
    mean, var, weight, bias = (
        t.detach().abs().view(1, -1, 1, 1)
        for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    result: Tensor = F.relu((x - mean) / (var + norm.eps).sqrt() * weight + bias)
    return result


def fresh_scale(norm: Any, x: Tensor) -> Tensor:
    result: Tensor = x / (1 + 1e-5) ** 0.5
    return result


def test_batch_norm_divides_by_running_statistics() -> None:
    net, (x, y) = norm_net(), batch()
    expected = by_hand(net, fresh_scale)
    assert get_proxy("synflow").score(net, x, y, loss=LOSS) == pytest.approx(expected, rel=1e-12)
    generator = torch.Generator().manual_seed(0)
    norms: list[Any] = [norm for norm in net.body if isinstance(norm, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, -2, -0.5, generator=generator)
        nn.init.uniform_(norm.bias, -1, 1, generator=generator)
    for _ in range(3):
        net(x + 0.1)
    assert all(bool((norm.running_mean < 0).any()) for norm in norms)
    expected = by_hand(net, scale_of_running_statistics)
    assert get_proxy("synflow").score(net, x, y, loss=LOSS) == pytest.approx(expected, rel=1e-12)


def test_batch_norm_without_running_statistics_has_the_fresh_scale() -> None:
    x, y = batch()
    score = get_proxy("synflow").score(own_norm_net(), x, y, loss=LOSS)
    assert score == pytest.approx(by_hand(own_norm_net(), fresh_scale), rel=1e-12)
    score = get_proxy("synflow").score(stateless_norm_net(), x, y, loss=LOSS)
    assert score == pytest.approx(by_hand(stateless_norm_net(), fresh_scale), rel=1e-12)


def test_only_the_shape_of_the_images_matters() -> None:
    x, y = batch()
    scores = {
        get_proxy("synflow").score(norm_net(), images, labels, loss=LOSS)
        for images, labels in ((x, y), (-x, y), (x[:1], y[:1]))
    }
    assert len(scores) == 1


def test_signs_of_the_parameters_do_not_matter() -> None:
    net, (x, y) = norm_net(), batch()
    before = get_proxy("synflow").score(net, x, y, loss=LOSS)
    with torch.no_grad():
        for p in net.parameters():
            p.neg_()
    assert get_proxy("synflow").score(net, x, y, loss=LOSS) == before
