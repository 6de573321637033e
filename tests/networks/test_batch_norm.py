from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.nn import functional as F

from nasi_ray.networks.batch_norm import EPSILON, BatchNorm
from tests.strategies import SEEDS

NORM = BatchNorm(1, affine=False)

# Raised once a process, when torch compiles its own rules for the first dual tensor.
forward_mode = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype)


def torchs(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    return F.batch_norm(x, None, None, weight, bias, training=True, eps=EPSILON)


@given(
    shape=st.tuples(st.integers(2, 5), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    offset=st.sampled_from([0.0, 10.0]),
    seed=SEEDS,
)
def test_equals_torch_in_value_and_gradient(
    shape: tuple[int, int, int, int], scale: float, offset: float, seed: int
) -> None:
    x = (scale * (normal(*shape, seed=seed) + offset)).requires_grad_()
    direction = normal(*shape, seed=seed + 1)
    found, expected = NORM(x), torchs(x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-11)
    (one,) = torch.autograd.grad(found, x, direction)
    (other,) = torch.autograd.grad(expected, x, direction)
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11 / scale)


def test_equals_torch_to_the_twelfth_digit() -> None:
    x = normal(8, 3, 7, 5)
    torch.testing.assert_close(NORM(x), torchs(x), rtol=1e-12, atol=1e-12)


def test_affine_parameters_scale_and_shift() -> None:
    norm = BatchNorm(3).double()
    x = normal(4, 3, 5, 5)
    torch.testing.assert_close(norm(x), torchs(x), rtol=1e-12, atol=1e-12)
    weight, bias = normal(3, seed=1), normal(3, seed=2)
    with torch.no_grad():
        for parameter, value in zip(norm.parameters(), (weight, bias), strict=True):
            parameter.copy_(value)
    torch.testing.assert_close(norm(x), torchs(x, weight, bias), rtol=1e-12, atol=1e-12)


@forward_mode
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_derivatives_are_those_of_finite_differences(memory_format: torch.memory_format) -> None:
    x = normal(3, 2, 3, 2).contiguous(memory_format=memory_format).requires_grad_()
    assert gradcheck(NORM, x, check_forward_ad=True, check_backward_ad=True)
    assert gradgradcheck(NORM, x, check_fwd_over_rev=True, check_rev_over_rev=True)


@forward_mode
def test_tangents_are_those_of_torch() -> None:
    x, v, u = (normal(4, 3, 5, 5, seed=seed) for seed in range(3))
    found = []
    for norm in (NORM, torchs):
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x.clone().requires_grad_(), v)
            y = norm(dual)
            (grad,) = torch.autograd.grad(y, dual, u)
            found.append((forward_ad.unpack_dual(y).tangent, forward_ad.unpack_dual(grad).tangent))
    (y_dot, grad_dot), (expected, expected_grad_dot) = found
    torch.testing.assert_close(y_dot, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(grad_dot, expected_grad_dot, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_float32_is_exact_to_a_millionth(memory_format: torch.memory_format) -> None:
    x = normal(64, 16, 32, 32, dtype=torch.float32).contiguous(memory_format=memory_format)
    expected = torchs(x.double())
    error = torch.linalg.norm(NORM(x).double() - expected) / torch.linalg.norm(expected)
    assert 0 < float(error) < 1e-6


def test_input_is_left_as_it_was() -> None:
    x = normal(2, 3, 4, 4)
    before = x.clone()
    NORM(x)
    assert torch.equal(x, before)


def test_constant_channels_become_zero() -> None:
    assert NORM(torch.full((2, 1, 3, 3), 5.0)).abs().max() == 0
