from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasi_ray.config import SampleConfig
from nasi_ray.errors import ConfigError
from nasi_ray.nasi.evaluator import Evaluator, SubNetworks, same_sample
from nasi_ray.nasi.gradient import trace_norm
from nasi_ray.nasi.gumbel import Architecture
from nasi_ray.nasi.loss import cross_entropy
from nasi_ray.networks.mixture import PathMixer
from nasi_ray.networks.nb201 import MixedCell, NB201Supernet, chosen
from nasi_ray.networks.ops import avg_pool_3x3
from nasi_ray.networks.standalone_nb201 import NB201Network
from nasi_ray.spaces.nb201 import EDGES, NB201, NB201Architecture
from tests.networks.supernet_case import batch, draw, gradients, small_net

NUM_CELLS = 4
MIXED = NB201Architecture.from_string(
    "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
)
CUT_OFF = NB201Architecture.from_string(
    "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|none~0|none~1|none~2|"
)
"""Nothing reaches the output."""
FED_BY_NOTHING = NB201Architecture.from_string(
    "|none~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|avg_pool_3x3~0|nor_conv_1x1~1|nor_conv_3x3~2|"
)
"""Convolutions of zeros, whose batch norm has a gradient all the same."""


def sample_of(architecture: NB201Architecture) -> Architecture:
    """An architecture with the noise of a draw, which for this purpose need not agree with it."""
    drawn = draw("nb201", num_cells=NUM_CELLS, sample_per="step", seed=0)
    return Architecture(
        space=NB201,
        draw_of_cell=drawn.draw_of_cell,
        chosen={(0, d): chosen(architecture)(0, d) for d in range(len(EDGES))},
        perturbed=drawn.perturbed,
        temperature=1.0,
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sample_per", ["step", "cell"])
def test_gradient_is_that_of_double_backward(sample_per: str, seed: int) -> None:
    net = small_net("nb201", num_cells=NUM_CELLS, seed=seed)
    architecture = draw("nb201", num_cells=NUM_CELLS, sample_per=sample_per, seed=seed)
    result = gradients(net, *batch(seed=seed), architecture)
    assert result.e == pytest.approx(result.reference_e, rel=1e-10)
    assert result.error < 1e-9


def test_every_candidate_of_every_edge_has_a_gradient() -> None:
    result = gradients(small_net("nb201", num_cells=NUM_CELLS), *batch(), sample_of(MIXED))
    assert result.error < 1e-9
    assert np.abs(result.gradient).min() > 0


def test_edges_into_a_node_of_zeros_are_stopped_by_relu() -> None:
    net = small_net("nb201", num_cells=NUM_CELLS)
    result = gradients(net, *batch(), sample_of(FED_BY_NOTHING))
    assert result.error < 1e-9
    alpha = NB201.split(result.gradient)
    assert {name for name, gradient in alpha.items() if not gradient.any()} == {"edge0-1/op"}


def test_cut_off_network_has_no_gradient() -> None:
    net = small_net("nb201", num_cells=NUM_CELLS)
    result = gradients(net, *batch(), sample_of(CUT_OFF))
    assert result.e == pytest.approx(result.reference_e, rel=1e-10)
    assert result.e > 0.1
    # Every candidate of the last cell is a constant, which batch norm takes away.
    np.testing.assert_allclose(result.gradient, 0, atol=1e-12)
    np.testing.assert_allclose(result.reference, 0, atol=1e-12)


def test_what_is_cut_off_is_neither_evaluated_nor_on_the_path() -> None:
    net, (x, y) = small_net("nb201", num_cells=NUM_CELLS), batch()
    evaluated: list[nn.Module] = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, args, out: evaluated.append(module))
    _, v = trace_norm(net, x, y, loss=cross_entropy, chosen=chosen(CUT_OFF))
    assert not evaluated
    assert set(v) == {"norm.weight", "norm.bias", "classifier.weight", "classifier.bias"}
    assert not v["norm.weight"].any()


def test_cut_off_cell_after_a_whole_one_is_exact() -> None:
    drawn = draw("nb201", num_cells=NUM_CELLS, sample_per="cell", seed=0)
    cells = [MIXED, CUT_OFF, MIXED, FED_BY_NOTHING]
    architecture = Architecture(
        space=NB201,
        draw_of_cell=range(NUM_CELLS),
        chosen={(i, d): chosen(cell)(i, d) for i, cell in enumerate(cells) for d in range(6)},
        perturbed=drawn.perturbed,
        temperature=1.0,
    )
    result = gradients(small_net("nb201", num_cells=NUM_CELLS), *batch(), architecture)
    assert result.e == pytest.approx(result.reference_e, rel=1e-10)
    assert result.error < 1e-9


def test_cell_sums_what_its_edges_bring() -> None:
    torch.manual_seed(0)
    cell = MixedCell(3).double()
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)

    def conv(edge: int, op: str, source: Tensor) -> Tensor:
        result: Tensor = cell.edges[edge][op](F.relu(source))  # type: ignore[index]
        return result

    first = conv(0, "nor_conv_3x3", x)
    second = F.avg_pool2d(first, 3, stride=1, padding=1, count_include_pad=False)
    expected = x + conv(4, "nor_conv_1x1", first) + conv(5, "nor_conv_3x3", second)
    zeros = torch.zeros_like(x)
    result = cell(lambda: x, zeros, PathMixer(chosen(MIXED)), 0)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


def copy_parameters(supernet: nn.Module, alone: nn.Module, architecture: NB201Architecture) -> None:
    """Give a stand-alone network the parameters of its sub-network."""
    reductions: dict[str, int] = {i: int(i) + n for n, i in enumerate(supernet.reductions)}  # type: ignore[arg-type]
    body = {i + sum(int(at) <= i for at in reductions): i for i in range(len(supernet.cells))}  # type: ignore[arg-type]
    parameters = dict(supernet.named_parameters())
    state = alone.state_dict()
    for name in dict(alone.named_parameters()):
        source = name
        if name.startswith("body."):
            _, position, *rest = name.split(".")
            if int(position) in body:
                edge = rest[1]
                op = architecture.ops[int(edge)]
                source = ".".join(["cells", str(body[int(position)]), "edges", edge, op, *rest[2:]])
            else:
                at = next(i for i, p in reductions.items() if p == int(position))
                source = ".".join(["reductions", at, *rest])
        state[name] = parameters[source].detach()
    alone.load_state_dict(state)


@pytest.mark.parametrize("architecture", [MIXED, FED_BY_NOTHING])
def test_sub_network_is_the_stand_alone_network(architecture: NB201Architecture) -> None:
    net, (x, y) = small_net("nb201", num_cells=6), batch()
    sizes = {"num_channels": 2, "cells_per_stage": 2, "num_classes": 3}
    alone = NB201Network(architecture, pool=avg_pool_3x3, **sizes).double()
    copy_parameters(net, alone, architecture)
    logits = alone(x)
    torch.testing.assert_close(
        net(x, PathMixer(chosen(architecture))), logits, rtol=1e-9, atol=1e-9
    )
    e, _ = trace_norm(net, x, y, loss=cross_entropy, chosen=chosen(architecture))
    v = torch.autograd.grad(cross_entropy(logits, y), list(alone.parameters()))
    assert float(e) == pytest.approx(sum(float(g.square().sum()) for g in v), rel=1e-9)


def test_parameters_are_those_of_every_edge_twice_over() -> None:
    def conv(kernel: int, width: int, out: int) -> int:
        return kernel * kernel * width * out + 2 * out

    expected = conv(3, 3, 16) + 2 * 64 + 65 * 10
    for width in (16, 32, 64):
        expected += 5 * 6 * (conv(3, width, width) + conv(1, width, width))
    for width in (16, 32):
        expected += conv(3, width, 2 * width) + conv(3, 2 * width, 2 * width) + 2 * width**2
    net = NB201Supernet(init_channels=16, num_cells=15, num_classes=10)
    assert sum(p.numel() for p in net.parameters()) == expected


@pytest.mark.parametrize("size", [8, 10, 13])
def test_images_of_any_size_do(size: int) -> None:
    net, (x, _) = small_net("nb201", num_cells=3), batch(size=size)
    for architecture in (MIXED, CUT_OFF):
        assert net(x, PathMixer(chosen(architecture))).shape == (len(x), 3)


def test_the_deepest_network_allowed_is_evaluated() -> None:
    # Node after node in every cell: the deepest calls there are.
    ops = ("nor_conv_1x1", "none", "nor_conv_1x1", "none", "none", "nor_conv_1x1")
    config = SampleConfig(
        space="nb201", batch_size=2, image_size=8, init_channels=1, num_cells=NB201.max_num_cells
    )
    networks = SubNetworks(config, None, device="cpu")
    x, y = batch(images=2)
    path = chosen(NB201Architecture(ops))
    e, _ = trace_norm(networks.net, x.float(), y, loss=cross_entropy, chosen=path)
    assert e > 0
    with pytest.raises(ConfigError, match="num_cells is 31; nb201 allows at most 30"):
        NB201.resolve_num_cells(NB201.max_num_cells + 1)


def test_evaluator_gives_a_sample_that_repeats() -> None:
    config = SampleConfig(
        space="nb201", batch_size=4, image_size=8, init_channels=2, num_cells=3, sample_per="cell"
    )
    sample = Evaluator(SubNetworks(config, None, device="cpu"))(1)
    assert sample.status == "ok"
    assert sample.trace_norm > 0
    assert sample.grad.shape == (30,)
    assert sample.choices.shape == (18,)
    assert same_sample(sample, Evaluator(SubNetworks(config, None, device="cpu"))(1))
