from __future__ import annotations

import contextlib

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from nasi_ray.networks import batch_norm, conv
from nasi_ray.networks.ops import plain_conv_norm
from nasi_ray.networks.tape import Tape, next_slot

# Raised once a process, when torch compiles its own rules for the first dual tensor.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*(plain_conv_norm(3, 3, k, rectify=False) for k in (1, 3))).double()


def first_pass(net: nn.Module, x: Tensor) -> None:
    torch.autograd.grad(net(x).square().sum(), [x, *net.parameters()])


def second_pass(net: nn.Module, x: Tensor) -> list[Tensor | None]:
    """Output and input gradient with their tangents, along a direction of all weights."""
    with forward_ad.dual_level():
        weights = {
            name: forward_ad.make_dual(p.detach(), p.detach().cos())
            for name, p in net.named_parameters()
        }
        y = torch.func.functional_call(net, weights, x)
        (grad,) = torch.autograd.grad(y.square().sum(), x)
        return [*forward_ad.unpack_dual(y), *forward_ad.unpack_dual(grad)]


@pytest.mark.parametrize("images", ["with a graph", "without"])
def test_a_second_pass_finds_every_value_and_is_the_same(
    images: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = network(), torch.randn(4, 3, 5, 5, dtype=torch.float64).requires_grad_()
    expected = second_pass(net, x)
    tape = Tape()
    with tape.passing():
        if images == "with a graph":
            first_pass(net, x)
        else:  # nothing before the input needs a gradient: the second pass computes its own
            torch.autograd.grad(net(x.detach()).square().sum(), list(net.parameters()))
    calls = {"normalize": 0}

    def normalize(x: Tensor) -> tuple[Tensor, Tensor]:
        calls["normalize"] += 1
        return before(x)

    before = batch_norm._normalize
    monkeypatch.setattr(batch_norm, "_normalize", normalize)
    with tape.passing():
        found = second_pass(net, x)
    assert calls["normalize"] == 0
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("taped", "expected"), [(False, 11), (True, 7)])
def test_a_second_pass_convolves_tangents_only(
    taped: bool, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = network(), torch.randn(4, 3, 5, 5, dtype=torch.float64).requires_grad_()
    tape = Tape()
    with tape.passing():
        first_pass(net, x)
    convolve, calls = conv._convolve, []

    def counted(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        # Of dual tensors torch computes a value and two tangents in one call.
        calls.append(3 if forward_ad.unpack_dual(x).tangent is not None else 1)
        return convolve(x, weight, dilation)

    monkeypatch.setattr(conv, "_convolve", counted)
    with tape.passing() if taped else contextlib.nullcontext():
        second_pass(net, x)
    assert sum(calls) == expected


def test_calls_beside_the_path_have_no_slot() -> None:
    tape = Tape()
    assert next_slot() is None
    with tape.passing():
        first, second = next_slot(), next_slot()
        with torch.no_grad():
            assert next_slot() is None
    assert next_slot() is None
    assert first is not None
    assert first is not second
    with tape.passing():
        assert next_slot() is first
        assert next_slot() is second


def test_another_order_of_calls_is_refused() -> None:
    tape = Tape()
    with tape.passing():
        next_slot("convolution", (2, 3))
    with tape.passing(), pytest.raises(RuntimeError, match="call 0 of a second pass is"):
        next_slot("convolution", (2, 4))
