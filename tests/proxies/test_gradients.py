from __future__ import annotations

import pytest
import torch
from torch import nn

from nasi_ray.errors import ConfigError
from nasi_ray.proxies.gradients import (
    couples_examples,
    mean_gradient,
    micro_batches,
    private_copy,
    weights,
)
from tests.proxies.nets import LOSS, batch, norm_net, own_norm_net, plain_net


def test_micro_batches_cover_the_batch_by_their_share() -> None:
    x, y = batch()
    parts = micro_batches(plain_net(), x, y, 4)
    assert [share for _, _, share in parts] == [4 / 6, 2 / 6]
    assert torch.equal(torch.cat([images for images, _, _ in parts]), x)
    assert torch.equal(torch.cat([labels for _, labels, _ in parts]), y)


@pytest.mark.parametrize("size", [None, 6, 7])
def test_batch_that_fits_is_one_part(size: int | None) -> None:
    x, y = batch()
    ((images, labels, share),) = micro_batches(norm_net(), x, y, size)
    assert images is x
    assert labels is y
    assert share == 1


@pytest.mark.parametrize("size", [0, -2])
def test_empty_micro_batches_are_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=f"micro_batch_size is {size}; give 1 or more"):
        micro_batches(plain_net(), *batch(), size)


def test_batch_norm_couples_where_it_uses_the_batch() -> None:
    assert not couples_examples(plain_net())
    assert couples_examples(norm_net())
    assert not couples_examples(norm_net().eval())
    assert couples_examples(own_norm_net().eval())
    assert couples_examples(nn.BatchNorm2d(3, track_running_stats=False).eval())


@pytest.mark.parametrize("size", [None, 1, 4])
def test_mean_gradient_is_that_of_the_batch(size: int | None) -> None:
    net, (x, y) = plain_net(), batch()
    grads = mean_gradient(net, list(net.parameters()), x, y, loss=LOSS, micro_batch_size=size)
    LOSS(net(x), y).backward()
    for grad, p in zip(grads, net.parameters(), strict=True):
        expected = torch.zeros_like(p) if p.grad is None else p.grad
        torch.testing.assert_close(grad, expected, rtol=1e-10, atol=1e-14)


def test_weights_are_those_of_convolutions_and_linear_layers() -> None:
    assert list(weights(norm_net())) == ["body.0", "body.3", "classifier"]


def test_copy_shares_nothing_and_requires_gradients() -> None:
    net, (x, y) = norm_net(), batch()
    LOSS(net(x), y).backward()
    assert all(p.grad is None for p in private_copy(net).parameters())
    net = norm_net().requires_grad_(False)
    copy = private_copy(net, dtype=torch.float32)
    LOSS(copy(x.float()), y).backward()
    assert all(p.grad is not None and p.dtype == torch.float32 for p in copy.parameters())
    assert all(p.grad is None and not p.requires_grad for p in net.parameters())
    assert float(net.body[1].running_mean.abs().sum()) == 0  # type: ignore[operator]
