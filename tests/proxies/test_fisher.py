from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nasi_ray.proxies import get_proxy
from tests.proxies.nets import LOSS, NUM_CLASSES, batch, norm_net, plain_net


def test_it_is_that_of_the_activations_image_by_image() -> None:
    net, (x, y) = plain_net(), batch()
    expected = 0.0
    for i in range(len(x)):
        first = net.first(x[i : i + 1]).detach().requires_grad_()
        second = net.second(F.relu(first))
        logits = net.classifier(F.relu(second).mean(dim=(2, 3)))
        grads = torch.autograd.grad(LOSS(logits, y[i : i + 1]), [first, second, logits])
        for a, g in zip((first, second, logits), grads, strict=True):
            for channel in range(a.shape[1]):
                expected += float((a[0, channel].detach() * g[0, channel]).sum()) ** 2 / (
                    2 * len(x)
                )
    score = get_proxy("fisher").score(net, x, y, loss=LOSS)
    assert score == pytest.approx(expected, rel=1e-12)
    assert score > 0


def test_under_batch_norm_it_is_that_of_the_whole_batch() -> None:
    net, (x, y) = norm_net(), batch()
    conv1, norm1, _, conv2, norm2, *_ = net.body
    first = conv1(x)
    second = conv2(F.relu(norm1(first)))
    logits = net.classifier(F.relu(norm2(second)).mean(dim=(2, 3)))
    grads = torch.autograd.grad(len(x) * LOSS(logits, y), [first, second, logits])
    expected = 0.0
    for a, g in zip((first, second, logits), grads, strict=True):
        for i in range(len(x)):
            for channel in range(a.shape[1]):
                expected += float((a[i, channel].detach() * g[i, channel]).sum()) ** 2 / (
                    2 * len(x)
                )
    score = get_proxy("fisher").score(net, x, y, loss=LOSS)
    assert score == pytest.approx(expected, rel=1e-9)
    assert score > 0


@pytest.mark.parametrize("inplace", [False, True])
def test_work_in_place_does_not_change_the_activations(inplace: bool) -> None:
    layers = [
        nn.Conv2d(3, 2, 3),
        nn.ReLU(inplace=inplace),
        nn.Flatten(),
        nn.Linear(32, NUM_CLASSES),
        nn.ReLU(inplace=inplace),
    ]
    net, (x, y) = nn.Sequential(*layers).double(), batch()
    for p in net.parameters():
        nn.init.uniform_(p, -1, 1, generator=torch.Generator().manual_seed(p.numel()))
    conv, linear = layers[0], layers[3]
    first = conv(x)
    last = linear(F.relu(first).flatten(start_dim=1))
    grads = torch.autograd.grad(len(x) * LOSS(F.relu(last), y), [first, last])
    with torch.no_grad():
        expected = (first * grads[0]).sum(dim=(2, 3)).square().sum()
        expected += (last * grads[1]).square().sum()
    score = get_proxy("fisher").score(net, x, y, loss=LOSS)
    assert score == pytest.approx(float(expected) / (2 * len(x)), rel=1e-12)
