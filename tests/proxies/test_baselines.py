from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasi_ray.networks.by_space import make_standalone
from nasi_ray.proxies import get_proxy
from nasi_ray.spaces.graph import num_params
from nasi_ray.spaces.nb1shot1 import S1
from nasi_ray.spaces.nb201 import NB201Architecture
from tests.proxies.nets import LOSS, batch, plain_net


def test_plain_network_is_counted_as_by_hand() -> None:
    x, y = batch()
    convs = 6 * 6 * 2 * 27 + 2 * 2 * 3 * 18 + 6 * 6 * 2 * 2
    assert get_proxy("multiply_adds").score(plain_net(), x, y, loss=LOSS) == convs + 3 * 3
    params = (2 * 27 + 2) + (3 * 18 + 3) + (2 * 2 + 2) + (3 * 3 + 3)
    assert get_proxy("num_params").score(plain_net(), x, y, loss=LOSS) == params


def test_grouped_and_dilated_convolutions_are_counted_as_by_hand() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 3, groups=3, dilation=2), nn.Conv2d(6, 4, 1)).double()
    x, y = batch()
    expected = 2 * 2 * 6 * 9 + 2 * 2 * 6 * 4
    assert get_proxy("multiply_adds").score(net, x, y, loss=LOSS) == expected


def test_network_that_is_one_layer_is_counted() -> None:
    score = get_proxy("multiply_adds").score(
        nn.Linear(5, 7), torch.ones(2, 5), torch.ones(2), loss=LOSS
    )
    assert score == 35


class Smoothing(nn.Module):
    """Average pooling that a convolution carries out."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, x.new_ones((3, 1, 3, 3)) / 9, groups=3)


def test_only_convolution_and_linear_layers_are_counted() -> None:
    net = nn.Sequential(Smoothing(), nn.Conv2d(3, 2, 4), nn.BatchNorm2d(2)).double()
    assert get_proxy("multiply_adds").score(net, *batch(), loss=LOSS) == 3 * 16 * 2


class Joined(nn.Module):
    """Calls functions in ways that the networks of the project do not."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat((x, 1 + x), -4)
        along: dict[str, Any] = {"axis": 1}
        x = torch.cat([x, x.new_ones(2, 1, 1, 1) + x.sum((0, 1)), x], **along)
        x = x / x.mean() + x.mean(**along, keepdim=True).relu()
        x = F.linear(input=torch.relu(input=x).mean((2, 3)), weight=x.new_ones(7, 7)) + x.mean()
        y: Tensor = self.linear(x)
        return y


def test_functions_keep_their_shapes_however_they_are_called() -> None:
    x = torch.ones(1, 3, 4, 4)
    assert Joined()(x).shape == (2, 5)
    assert get_proxy("multiply_adds").score(Joined(), x, torch.ones(1), loss=LOSS) == 2 * 5 * 7


def test_counting_does_not_import_the_compiler() -> None:
    code = """
import random, sys
import numpy, torch
from nasi_ray.networks.by_space import make_standalone
from nasi_ray.networks.genotype_network import GenotypeNetwork
from nasi_ray.proxies import get_proxy
from nasi_ray.spaces import get_tabular_space
from nasi_ray.spaces.final_network import NETWORKS
from tests.spaces.cells import random_genotype

nets = [
    make_standalone(
        name, get_tabular_space(name).random(numpy.random.default_rng(seed)), num_classes=10
    )
    for name in ("s1", "s2", "s3", "nb201")
    for seed in range(3)
]
for network in NETWORKS.values():
    with torch.device("meta"):
        nets.append(GenotypeNetwork(random_genotype(random.Random(1)), network))
for net in nets:
    get_proxy("multiply_adds").score(net.eval(), torch.ones(1, 3, 64, 64), None, loss=None)
print("torch._dynamo" in sys.modules)
"""
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out == "False\n"


@pytest.mark.parametrize("op", ["none", "skip_connect", "avg_pool_3x3"])
def test_pooling_costs_nothing(op: str) -> None:
    net = make_standalone("nb201", NB201Architecture((op,) * 6), num_classes=10)
    stem = 32 * 32 * 16 * 27
    reductions = sum(
        side * side * c * (9 * c // 2 + 9 * c + c // 2) for side, c in ((16, 32), (8, 64))
    )
    x, y = torch.ones(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64)
    assert get_proxy("multiply_adds").score(net, x, y, loss=LOSS) == stem + reductions + 640


def test_parameters_are_those_of_the_graph() -> None:
    architecture = S1.random(np.random.default_rng(0))
    make = partial(make_standalone, "s1", architecture, num_classes=10, num_channels=128)
    with torch.device("meta"):
        net = make()
    expected = num_params(architecture.matrix(), architecture.vertex_ops())
    assert get_proxy("num_params").score(net, *batch(), loss=LOSS) == expected
