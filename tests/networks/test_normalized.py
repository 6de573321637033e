from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from nasi_ray.networks.batch_norm import BatchNorm
from nasi_ray.networks.normalized import Cotangents, Normalized

# Raised once a process, when torch compiles its own rules for the first dual tensor.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")


class Sine(Normalized):
    """norm(sin(3 x))."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def split(self, x: Tensor) -> tuple[Tensor, nn.Module]:
        return torch.sin(3 * x), self.norm


def normal(channels: int, seed: int, memory_format: torch.memory_format) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((4, channels, 3, 5), generator=generator, dtype=torch.float64)
    return x.contiguous(memory_format=memory_format)


def norm_of(kind: str, channels: int) -> nn.Module:
    if kind == "torch":
        return nn.BatchNorm2d(channels, track_running_stats=False).double()
    norm = BatchNorm(channels, affine=kind == "affine").double()
    with torch.no_grad():
        for i, parameter in enumerate(norm.parameters()):
            parameter.copy_(torch.linspace(-1, 2 + i, channels))
    return norm


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("missing", ["nothing", "delta_dot", "x_dot", "both"])
@pytest.mark.parametrize("kind", ["plain", "affine", "torch"])
@pytest.mark.parametrize("channels", [1, 3, 33])
def test_closed_form_is_the_inner_product_of_the_outputs(
    channels: int, kind: str, missing: str, memory_format: torch.memory_format
) -> None:
    delta, delta_dot, x, x_dot = (normal(channels, seed, memory_format) for seed in range(4))
    op = Sine(norm_of(kind, channels))
    with torch.no_grad(), forward_ad.dual_level():
        dual = x if missing in ("x_dot", "both") else forward_ad.make_dual(x, x_dot)
        without = missing in ("delta_dot", "both")
        cotangents = Cotangents(delta, None if without else delta_dot)
        y, y_dot = forward_ad.unpack_dual(op(dual))
        expected = torch.zeros((), dtype=torch.float64)
        if not without:
            expected += (delta_dot * y).sum()
        if y_dot is not None:
            expected += (delta * y_dot).sum()
        for found in (cotangents.normalized_products(op, dual), cotangents.products(op(dual))):
            assert found.dtype == torch.float64
            torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_closed_form_is_exact_to_a_hundred_thousandth_in_float32() -> None:
    parts = [normal(16, seed, torch.channels_last).float() + 0.5 for seed in range(4)]
    found = []
    for dtype in (torch.float32, torch.float64):
        delta, delta_dot, x, x_dot = (part.to(dtype) for part in parts)
        with torch.no_grad(), forward_ad.dual_level():
            op, dual = Sine(BatchNorm(16, affine=False)), forward_ad.make_dual(x, x_dot)
            found.append(Cotangents(delta, delta_dot).normalized_products(op, dual))
    single, double = found
    assert 0 < float((single - double).abs() / double.abs()) < 1e-5
