from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.nn import functional as F

from nasi_ray.networks.conv import Conv, linear

# Raised once a process, when torch compiles its own rules for the first dual tensor.
forward_mode = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")

KINDS: list[dict[str, Any]] = [
    {"in_channels": 2, "out_channels": 3, "kernel_size": 1},
    {"in_channels": 2, "out_channels": 3, "kernel_size": 3},
    {"in_channels": 3, "out_channels": 3, "kernel_size": 3, "groups": 3},
    {"in_channels": 3, "out_channels": 3, "kernel_size": 5, "groups": 3},
    {"in_channels": 3, "out_channels": 3, "kernel_size": 3, "groups": 3, "dilation": 2},
    {"in_channels": 1, "out_channels": 1, "kernel_size": 3, "groups": 1, "dilation": 2},
    {"in_channels": 1, "out_channels": 2, "kernel_size": 3},
    {"in_channels": 2, "out_channels": 2, "kernel_size": 3, "groups": 2, "stride": 2},
]

kinds = pytest.mark.parametrize("kind", KINDS, ids=str)


def conv_and_input(kind: dict[str, Any]) -> tuple[Conv, Tensor]:
    generator = torch.Generator().manual_seed(0)
    conv = Conv(**kind).double()
    with torch.no_grad():
        conv.weight.copy_(torch.randn(conv.weight.shape, generator=generator))
    x = torch.randn((2, kind["in_channels"], 4, 3), generator=generator, dtype=torch.float64)
    return conv, x.requires_grad_()


def apply(conv: Conv, x: Tensor, weight: Tensor) -> Tensor:
    y: Tensor = torch.func.functional_call(conv, {"weight": weight}, x)
    return y


def torchs(conv: Conv, x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(
        x, weight, None, conv.stride, tuple(map(int, conv.padding)), conv.dilation, conv.groups
    )


@kinds
def test_value_and_gradients_are_those_of_torch(kind: dict[str, Any]) -> None:
    conv, x = conv_and_input(kind)
    found, expected = conv(x), torchs(conv, x, conv.weight)
    assert torch.equal(found, expected)
    direction = torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad(found, [x, conv.weight], direction),
        torch.autograd.grad(expected, [x, conv.weight], direction),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@kinds
@forward_mode
def test_derivatives_are_those_of_finite_differences(kind: dict[str, Any]) -> None:
    conv, x = conv_and_input(kind)
    inputs = (x, conv.weight.detach().requires_grad_())

    def call(x: Tensor, weight: Tensor) -> Tensor:
        return apply(conv, x, weight)

    assert gradcheck(call, inputs, check_forward_ad=True)
    assert gradgradcheck(call, inputs, check_fwd_over_rev=True)


@pytest.mark.parametrize("moving", ["input", "weight", "both"])
@kinds
@forward_mode
def test_tangents_are_those_of_torch(kind: dict[str, Any], moving: str) -> None:
    conv, x = conv_and_input(kind)
    weight = conv.weight.detach()
    tangents = []
    for function in (apply, torchs):
        with forward_ad.dual_level():
            one, other = x, weight
            if moving != "weight":
                one = forward_ad.make_dual(x, x.detach().cos())
            if moving != "input":
                other = forward_ad.make_dual(weight, weight.cos())
            tangents.append(forward_ad.unpack_dual(function(conv, one, other)).tangent)
    torch.testing.assert_close(tangents[0], tangents[1], rtol=1e-12, atol=1e-12)


@forward_mode
def test_a_linear_function_acts_on_value_and_tangent() -> None:
    x, x_dot = torch.tensor([1.0, 2.0]), torch.tensor([5.0, 7.0])
    assert linear(torch.neg, x).tolist() == [-1.0, -2.0]
    with forward_ad.dual_level():
        y, y_dot = forward_ad.unpack_dual(linear(torch.neg, forward_ad.make_dual(x, x_dot)))
        assert y_dot is not None
        assert (y.tolist(), y_dot.tolist()) == ([-1.0, -2.0], [-5.0, -7.0])
