from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from nasi_ray.networks.batch_norm import BatchNorm
from nasi_ray.networks.darts import DartsSupernet
from nasi_ray.networks.initialization import build, draw_parameters

LAYERS = [
    pytest.param(partial(nn.Conv2d, 64, 256, 3), 64 * 9, id="conv"),
    pytest.param(partial(nn.Conv2d, 1024, 1024, 5, groups=1024), 25, id="depthwise"),
    pytest.param(partial(nn.Conv2d, 256, 256, 1, bias=False), 256, id="pointwise"),
    pytest.param(partial(nn.Linear, 512, 256), 512, id="linear"),
]


def supernet(seed: int, dtype: torch.dtype = torch.float64, **options: Any) -> nn.Module:
    make = partial(DartsSupernet, init_channels=2, num_cells=3, num_classes=10)
    return build(make, seed=seed, dtype=dtype, **options)


@pytest.mark.parametrize(("make", "fan_in"), LAYERS)
def test_distribution_is_that_of_torch(make: partial[nn.Module], fan_in: int) -> None:
    torch.manual_seed(0)
    drawn, torchs = build(make, seed=1, dtype=torch.float64), make()
    bound = 1 / math.sqrt(fan_in)
    for name, weight in drawn.state_dict().items():
        other = torchs.state_dict()[name].double()
        n = weight.numel()
        assert weight.shape == other.shape
        assert weight.abs().max() <= bound, name
        assert other.abs().max() <= bound * (1 + 1e-6), name
        # The largest of n uniform numbers falls short of the bound by 1/n on average.
        assert weight.abs().max() > bound * (1 - 20 / n), name
        # Five standard errors of a mean (bound/√3) and of a variance (0.894 of itself).
        for values in (weight, other):
            assert abs(float(values.mean())) < 5 * bound / math.sqrt(3 * n), name
            variance = float(values.square().mean())
            assert variance == pytest.approx(bound**2 / 3, rel=5 * 0.9 / math.sqrt(n)), name


def test_parameters_depend_on_the_seed_alone() -> None:
    torch.manual_seed(0)
    one = supernet(3)
    torch.manual_seed(1)
    torch.rand(10)
    again, other = supernet(3), supernet(4)
    for p, q, r in zip(one.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
        assert not torch.equal(p, r)


def test_no_two_parameters_are_drawn_alike() -> None:
    # In units of the bound; a bias has that of its weight.
    first = [
        float(p[(0,) * p.dim()]) * math.sqrt(p[0].numel())
        for p in supernet(0).state_dict().values()
    ]
    assert len(set(first)) == len(first)


def test_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    supernet(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_float32_parameters_are_the_rounded_float64_ones() -> None:
    single, double = supernet(0, torch.float32), supernet(0)
    for p, q in zip(single.parameters(), double.parameters(), strict=True):
        assert p.dtype == torch.float32
        assert torch.equal(p, q.float())
        assert not torch.equal(p.double(), q)


def test_batch_norm_starts_as_the_identity_of_its_scale() -> None:
    norm = build(partial(BatchNorm, 4), seed=0, dtype=torch.float32)
    assert [p.tolist() for p in norm.parameters()] == [[1.0] * 4, [0.0] * 4]


def test_layers_with_other_parameters_are_refused() -> None:
    with pytest.raises(TypeError, match="no initialisation is defined for LayerNorm"):
        build(partial(nn.LayerNorm, 3), seed=0, dtype=torch.float32)


@pytest.mark.parametrize(
    ("init", "variance"),
    [
        ("kaiming", lambda fan_in, fan_out: 2 / fan_in),
        ("xavier", lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
        ("ntk", lambda fan_in, fan_out: 1 / fan_in),
    ],
)
@pytest.mark.parametrize("make", [partial(nn.Conv2d, 64, 128, 3), partial(nn.Linear, 512, 256)])
def test_the_effective_weights_have_the_variance_asked_for(
    init: Any, variance: Callable[[int, int], float], make: Callable[[], nn.Module]
) -> None:
    layer: Any = build(make, seed=1, dtype=torch.float64, init=init)
    weight = layer.weight.detach()
    expected = variance(weight[0].numel(), weight[:, 0].numel())
    n = weight.numel()
    # Five standard errors of a normal sample's mean and variance.
    assert abs(float(weight.mean())) < 5 * math.sqrt(expected / n)
    assert float(weight.square().mean()) == pytest.approx(expected, rel=5 * math.sqrt(2 / n))
    assert not layer.bias.any()


def test_ntk_parameters_are_standard_normal_and_their_gradients_are_scaled() -> None:
    layer: Any = build(partial(nn.Linear, 100, 50), seed=2, dtype=torch.float64, init="ntk")
    theta = layer.parametrizations.weight.original
    assert theta.shape == (50, 100)
    assert float(theta.detach().square().mean()) == pytest.approx(1, rel=0.1)
    torch.testing.assert_close(layer.weight, theta / 10)
    x = torch.ones(1, 100, dtype=torch.float64)
    (grad,) = torch.autograd.grad(layer(x).sum(), theta)
    torch.testing.assert_close(grad, torch.full_like(grad, 0.1))


@pytest.mark.parametrize("init", ["default", "kaiming", "xavier", "ntk"])
def test_parameters_drawn_anew_are_those_of_a_network_built_so(init: Any) -> None:
    net = supernet(3, torch.float32, init=init).to(memory_format=torch.channels_last)
    before = dict(net.named_parameters())
    where = {name: p.data_ptr() for name, p in before.items()}
    draw_parameters(net, seed=4, init=init)
    other = supernet(4, torch.float32, init=init)
    for name, p in other.named_parameters():
        assert torch.equal(before[name], p), name
    after = dict(net.named_parameters())
    assert {name: p.data_ptr() for name, p in after.items()} == where, "in place"
    assert all(
        after[name].is_contiguous(memory_format=torch.channels_last)
        for name in after
        if after[name].dim() == 4
    )


@pytest.mark.parametrize(("batch_norm", "has_gamma"), [("affine", True), ("plain", False)])
def test_batch_norm_gets_or_loses_its_parameters(batch_norm: str, has_gamma: bool) -> None:
    net = supernet(0, batch_norm=batch_norm)
    norms = [module for module in net.modules() if isinstance(module, BatchNorm)]
    assert norms
    for norm in norms:
        gamma_beta = [p.tolist() for p in norm.parameters()]
        assert gamma_beta == ([[1.0] * norm.num_channels, [0.0] * norm.num_channels] * has_gamma)
