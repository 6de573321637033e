from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasi_ray.config import SampleConfig
from nasi_ray.errors import InvalidGenotypeError
from nasi_ray.nasi.evaluator import Evaluator, SubNetworks, same_sample
from nasi_ray.nasi.gradient import trace_norm
from nasi_ray.nasi.gumbel import Architecture
from nasi_ray.nasi.loss import cross_entropy
from nasi_ray.networks.batch_norm import BatchNorm
from nasi_ray.networks.mixture import PathMixer, WeightedMixer
from nasi_ray.networks.nb1shot1 import ConvNormRelu, MixedCell, NB1Shot1Supernet, chosen
from nasi_ray.spaces.graph import CONV1X1, MAXPOOL3X3, NB101_OPS
from nasi_ray.spaces.nb1shot1 import S1, S2, S3, NB1Shot1Architecture, NB1Shot1Space
from tests.networks.supernet_case import NUM_CLASSES, batch, draw, gradients, small_net

SPACES = {"s1": S1, "s2": S2, "s3": S3}
NUM_CELLS = 3

DEAD_BLOCKS = NB1Shot1Architecture.from_string("0;0,1;0,1;2,3;0,1|3,3,1,1")
"""Blocks 2, 3 and 4 lead nowhere."""


def decisions(space: NB1Shot1Space) -> dict[str, int]:
    return {decision.name: i for i, decision in enumerate(space.decisions)}


def pools_a_plateau(space: NB1Shot1Space, architecture: Architecture) -> bool:
    """Whether some max pooling on the path may see equal maxima that rounding tells apart.

    Pooling repeats a maximum, and a 1x1 convolution keeps the repetitions equal up to rounding.
    Where they are pooled again, e has no derivative with respect to parents not taken.
    """
    at, flat_input = decisions(space), False
    for cell in range(NUM_CELLS):
        flat = [flat_input]
        for block in range(1, space.num_blocks + 1):
            position = at.get(f"block{block}/parents")
            parents = (0,) if position is None else architecture.at(cell, position)
            op = NB101_OPS[architecture.at(cell, at[f"block{block}/op"])[0]]
            flat_parents = all(flat[parent] for parent in parents)
            if op == MAXPOOL3X3 and flat_parents:
                return True
            flat.append(op == MAXPOOL3X3 or (op == CONV1X1 and flat_parents))
        joined = [flat[parent] for parent in architecture.at(cell, at["output/parents"])]
        if cell + 1 < NUM_CELLS and any(joined):  # every cell but the last comes before pooling
            return True
        flat_input = all(joined)
    return False


def differentiable_samples(space: str, sample_per: str) -> Iterator[tuple[int, Architecture]]:
    for seed in range(1000):
        architecture = draw(space, num_cells=NUM_CELLS, sample_per=sample_per, seed=seed)
        if not pools_a_plateau(SPACES[space], architecture):
            yield seed, architecture


@pytest.mark.parametrize("sample_per", ["step", "cell"])
@pytest.mark.parametrize("space", list(SPACES))
def test_gradient_is_that_of_double_backward(space: str, sample_per: str) -> None:
    samples = differentiable_samples(space, sample_per)
    for _, (seed, architecture) in zip(range(3), samples, strict=False):
        net = small_net(space, num_cells=NUM_CELLS, seed=seed)
        result = gradients(net, *batch(seed=seed), architecture)
        assert result.e == pytest.approx(result.reference_e, rel=1e-10)
        assert result.error < 1e-9
        output = SPACES[space].slices[decisions(SPACES[space])["output/parents"]]
        assert np.abs(result.gradient[output]).min() > 0


def dead_block_sample() -> Architecture:
    """``DEAD_BLOCKS`` with the noise of a draw, which for this purpose need not agree with it."""
    drawn = draw("s1", num_cells=NUM_CELLS, sample_per="step", seed=0)
    path = chosen(S1, DEAD_BLOCKS)
    return Architecture(
        space=S1,
        draw_of_cell=drawn.draw_of_cell,
        chosen={(0, d): path(0, d) for d in range(len(S1.decisions))},
        perturbed=drawn.perturbed,
        temperature=1.0,
    )


def test_blocks_that_lead_nowhere_are_off_the_path() -> None:
    net, (x, y) = small_net("s1", num_cells=NUM_CELLS), batch()
    _, v = trace_norm(net, x, y, loss=cross_entropy, chosen=dead_block_sample().at)
    of_blocks = {name.split(".")[3] for name in v if ".blocks." in name}
    assert of_blocks == {"0"}


def test_blocks_that_lead_nowhere_have_no_gradient_of_their_own_but_their_weight_does() -> None:
    architecture = dead_block_sample()
    result = gradients(small_net("s1", num_cells=NUM_CELLS), *batch(), architecture)
    assert result.e == pytest.approx(result.reference_e, rel=1e-10)
    assert result.error < 1e-9
    alpha = S1.split(result.gradient)
    for block in (2, 3, 4):
        assert not alpha[f"block{block}/op"].any()
        assert not alpha[f"block{block}/parents"].any()
    assert alpha["block1/op"].all()
    assert alpha["output/parents"].all()


@pytest.mark.parametrize("space", list(SPACES))
def test_path_is_the_one_hot_network(space: str) -> None:
    net, (x, _) = small_net(space, num_cells=NUM_CELLS), batch()
    architecture = draw(space, num_cells=NUM_CELLS, sample_per="cell", seed=5)
    sizes = [decision.size for decision in SPACES[space].decisions]

    def k_hot(cell: int, decision: int) -> Tensor:
        weights = torch.zeros(sizes[decision], dtype=torch.float64)
        weights[list(architecture.at(cell, decision))] = 1
        return weights

    with torch.no_grad():
        path = net(x, PathMixer(architecture.at))
        whole = net(x, WeightedMixer(k_hot))
    assert path.shape == (len(x), NUM_CLASSES)
    torch.testing.assert_close(path, whole, rtol=1e-10, atol=1e-10)


def test_cell_sums_parents_and_concatenates_weighted_blocks() -> None:
    torch.manual_seed(0)
    cell = MixedCell(S1, 5, 2).double()
    architecture = NB1Shot1Architecture.from_string("0;0,1;1,2;0,3;0,3|1,m,3,3")
    x = torch.randn(3, 5, 6, 6, dtype=torch.float64)
    conv3, conv1 = 0, 1
    blocks: list[nn.Module] = list(cell.blocks)

    def op(block: int, position: int) -> nn.Module:
        return blocks[block - 1].ops[position]  # type: ignore[index, return-value]

    def projected(block: int) -> Tensor:
        result: Tensor = blocks[block - 1].project(x)  # type: ignore[operator]
        return result

    first = op(1, conv1)(projected(1))
    second = F.max_pool2d(projected(2) + first, 3, stride=1, padding=1)
    third = op(3, conv3)(first + second)
    zeros = torch.zeros_like(first)
    expected = torch.cat([zeros, zeros, third, zeros], dim=1) + cell.project(x)
    result = cell(x, PathMixer(chosen(S1, architecture)), 0)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


def test_convolution_is_followed_by_affine_batch_norm_and_relu() -> None:
    torch.manual_seed(0)
    layer = ConvNormRelu(3, 4, 3, norm=BatchNorm).double()
    with torch.no_grad():
        layer.norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))  # type: ignore[operator]
        layer.norm.bias.copy_(torch.tensor([0.0, 1.0, -1.0, 2.0]))  # type: ignore[operator]
    x = torch.randn(5, 3, 6, 6, dtype=torch.float64)
    y = F.conv2d(x, layer.conv.weight, padding=1)
    expected = F.relu(
        F.batch_norm(y, None, None, layer.norm.weight, layer.norm.bias, training=True)  # type: ignore[arg-type]
    )
    torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-10)


def test_parameters_are_those_of_nine_cells_with_doubling_channels() -> None:
    def conv(kernel: int, width: int, out: int) -> int:
        return kernel * kernel * width * out + 2 * out

    expected, width = conv(3, 3, 16), 16
    for cell in range(9):
        channels = 16 << cell // 3
        block = conv(1, width, channels) + conv(3, channels, channels) + conv(1, channels, channels)
        expected += 4 * block + conv(1, width, 4 * channels)
        width = 4 * channels
    expected += conv(1, 256, 64) + 65 * 10
    net = NB1Shot1Supernet(S1, init_channels=16, num_cells=9, num_classes=10)
    assert sum(p.numel() for p in net.parameters()) == expected


def test_map_is_halved_twice() -> None:
    net = NB1Shot1Supernet(S3, init_channels=2, num_cells=5, num_classes=10)
    shapes: list[tuple[int, ...]] = []
    for cell in net.cells:
        cell.register_forward_hook(lambda module, args, out: shapes.append(tuple(out.shape[1:])))
    net(torch.randn(2, 3, 32, 32), PathMixer(chosen(S3, S3.architecture(0))))
    assert shapes == [(10, 32, 32), *[(20, 16, 16)] * 2, *[(40, 8, 8)] * 2]


def test_chosen_is_what_the_architecture_says() -> None:
    path = chosen(S2, NB1Shot1Architecture.from_string("0;1;0,2;1,3;0,1,4|3,1,m,3"))
    taken = {decision.name: path(0, d) for d, decision in enumerate(S2.decisions)}
    assert taken == {
        "block1/op": (0,),
        "block2/op": (1,),
        "block2/parents": (1,),
        "block3/op": (2,),
        "block3/parents": (0, 2),
        "block4/op": (0,),
        "block4/parents": (1, 3),
        "output/parents": (0, 1, 4),
    }


def test_architecture_of_another_space_is_refused() -> None:
    with pytest.raises(InvalidGenotypeError, match="s2 needs"):
        chosen(S2, S1.architecture(0))


@pytest.mark.parametrize("space", list(SPACES))
def test_evaluator_gives_a_sample_that_repeats(space: str) -> None:
    config = SampleConfig(
        space=space, batch_size=4, image_size=8, init_channels=2, num_cells=3, sample_per="cell"
    )
    sample = Evaluator(SubNetworks(config, None, device="cpu"))(7)
    taken = sum(decision.num_chosen for decision in SPACES[space].decisions)
    assert sample.status == "ok"
    assert sample.trace_norm > 0
    assert sample.grad.shape == (SPACES[space].num_logits,)
    assert sample.choices.shape == (3 * taken,)
    assert same_sample(sample, Evaluator(SubNetworks(config, None, device="cpu"))(7))
