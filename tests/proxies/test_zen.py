from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasi_ray.errors import ProxyFailedError
from nasi_ray.networks.by_space import make_standalone
from nasi_ray.proxies import zen
from nasi_ray.spaces.nb201 import NB201Architecture
from tests.proxies.nets import LOSS, NormNet, batch, norm_net, own_norm_net, plain_net


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def normalised(x: Tensor) -> tuple[Tensor, float]:
    """What batch norm gives, and √ of the mean of the channels' variances."""
    variances = []
    y = torch.empty_like(x)
    for channel in range(x.shape[1]):
        values = x[:, channel]
        variance = ((values - values.mean()) ** 2).mean()
        y[:, channel] = (values - values.mean()) / (variance + 1e-5).sqrt()
        variances.append(float(variance))
    return y, math.sqrt(sum(variances) / len(variances))


def by_hand(x: Tensor, generator: torch.Generator, perturbation: float) -> float:
    first, second = normal(generator, 4, 3, 3, 3), normal(generator, 3, 4, 3, 3)
    normal(generator, 3, 3)  # the classifier's, which follows the map
    z, epsilon = normal(generator, *x.shape), normal(generator, *x.shape)
    maps, scales = [], []
    for images in (z, z + perturbation * epsilon):
        y, scale1 = normalised(F.conv2d(images, first, padding=1))
        y, scale2 = normalised(F.conv2d(F.relu(y), second))
        maps.append(F.relu(y))
        scales.append((scale1, scale2))
    norms = [float((a - b).square().sum().sqrt()) for a, b in zip(*maps, strict=True)]
    return math.log(sum(norms) / len(norms)) + math.log(scales[0][0]) + math.log(scales[0][1])


@pytest.mark.parametrize("perturbation", [1e-2, 0.3])
def test_it_is_that_of_the_formula(perturbation: float) -> None:
    x, y = batch()
    generator = torch.Generator().manual_seed(7)
    draws = [by_hand(x, generator, perturbation) for _ in range(3)]
    for num_repeats in (1, 3):
        score = zen.score(
            norm_net(),
            x,
            y,
            loss=LOSS,
            seed=7,
            num_repeats=num_repeats,
            perturbation=perturbation,
        )
        assert score == pytest.approx(sum(draws[:num_repeats]) / num_repeats, rel=1e-9)


def test_biases_are_zero_and_no_batch_norm_scales_nothing() -> None:
    x, y = batch()
    generator = torch.Generator().manual_seed(0)
    weights = [normal(generator, *shape) for shape in ((2, 3, 3, 3), (3, 2, 3, 3))]
    for shape in ((2, 2, 1, 1), (3, 3)):
        normal(generator, *shape)
    z, epsilon = normal(generator, *x.shape), normal(generator, *x.shape)
    clean, changed = (
        F.relu(F.conv2d(F.relu(F.conv2d(images, weights[0], padding=1)), weights[1], stride=2))
        for images in (z, z + 0.01 * epsilon)
    )
    expected = (clean - changed).flatten(1).norm(dim=1).mean().log()
    assert zen.score(plain_net(), x, y, loss=LOSS) == pytest.approx(float(expected), rel=1e-9)


def test_parameters_images_and_mode_do_not_matter_but_the_seed_does() -> None:
    x, y = batch()
    scores = {
        zen.score(norm_net(0), x, y, loss=LOSS),
        zen.score(norm_net(1).eval(), -x, y, loss=LOSS),
    }
    assert len(scores) == 1
    assert zen.score(norm_net(), x, y, loss=LOSS, seed=1) not in scores


def test_batch_norm_of_either_kind_counts_alike() -> None:
    x, y = batch()
    own = zen.score(own_norm_net(), x, y, loss=LOSS)
    assert own == pytest.approx(zen.score(norm_net(), x, y, loss=LOSS), rel=1e-9)


def test_batch_norm_of_nothing_is_left_out() -> None:
    class Dead(NormNet):
        def __init__(self) -> None:
            super().__init__()
            self.dead = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + self.dead(torch.zeros_like(x)))

    x, y = batch()
    score = zen.score(Dead().double(), x, y, loss=LOSS)
    assert score == zen.score(norm_net(), x, y, loss=LOSS)


@pytest.mark.parametrize("op", ["skip_connect", "nor_conv_3x3"])
def test_cell_with_a_node_of_zeros_has_a_score(op: str) -> None:
    architecture = NB201Architecture(("none", "nor_conv_1x1", op, op, "nor_conv_3x3", op))
    net = make_standalone("nb201", architecture, num_classes=3, num_channels=4)
    x, y = batch(side=16)
    assert math.isfinite(zen.score(net, x.float(), y, loss=LOSS))


@pytest.mark.parametrize(
    "to_vector",
    [
        lambda x: x.mean(dim=(2, 3)),
        lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1),
        lambda x: F.avg_pool2d(x, x.shape[2:])[:, :, 0, 0],
        lambda x: torch.flatten(x, 1)[:, :2],
        lambda x: x.view(len(x), -1)[:, :2],
    ],
)
def test_map_is_what_is_made_a_vector_last(to_vector: nn.Module) -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            gate = x.mean(dim=(2, 3), keepdim=True)
            features = x.new_zeros(()) + 2 * x * gate
            y: Tensor = 3 * to_vector(features)
            return y + x.new_zeros((1, 1))

    x, _ = batch()
    expected = 2 * x * x.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(zen.feature_map(Net(), x), expected)


def test_network_without_a_map_is_a_failure() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU()).double()
    with pytest.raises(ProxyFailedError, match="never turns a feature map into a vector"):
        zen.score(net, torch.zeros(4, 3, dtype=torch.float64), torch.zeros(4), loss=LOSS)
