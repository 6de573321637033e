from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from nasi_ray.networks.batch_norm import BatchNorm
from nasi_ray.networks.initialization import build
from nasi_ray.networks.ops import OPS, FactorizedReduce, avg_pool_3x3, final_op, max_pool_3x3
from nasi_ray.spaces.genotype import GENOTYPE_OPS

X = torch.randn((3, 4, 7, 6), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def build_op(name: str) -> nn.Module:
    return build(partial(OPS[name], 4), seed=0, dtype=torch.float64)


def weights_of(op: nn.Module, name: str) -> list[Tensor]:
    return [p for key, p in op.named_parameters() if key.startswith(name)]


def test_every_operation_of_the_space_is_built() -> None:
    assert {"none", *OPS} == set(GENOTYPE_OPS)


@pytest.mark.parametrize("name", OPS)
def test_stride_is_one(name: str) -> None:
    assert build_op(name)(X).shape == X.shape


@pytest.mark.parametrize(
    ("name", "num_params"),
    [
        ("max_pool_3x3", 0),
        ("avg_pool_3x3", 0),
        ("skip_connect", 0),
        ("sep_conv_3x3", 2 * (4 * 9 + 16)),
        ("sep_conv_5x5", 2 * (4 * 25 + 16)),
        ("dil_conv_3x3", 4 * 9 + 16),
        ("dil_conv_5x5", 4 * 25 + 16),
        ("sep_conv_7x7", 2 * (4 * 49 + 16)),
        ("conv_7x1_1x7", 2 * 7 * 16),
    ],
)
def test_number_of_parameters(name: str, num_params: int) -> None:
    assert sum(p.numel() for p in build_op(name).parameters()) == num_params


@pytest.mark.parametrize(
    ("name", "size"), [("sep_conv_3x3", 3), ("sep_conv_5x5", 5), ("sep_conv_7x7", 7)]
)
def test_separable_convolution_is_depthwise_and_pointwise_twice(name: str, size: int) -> None:
    op, norm = build_op(name), BatchNorm(1, affine=False)
    x = X.relu()
    for depthwise, pointwise in zip(
        weights_of(op, "depthwise"), weights_of(op, "pointwise"), strict=True
    ):
        x = F.conv2d(F.relu(x), depthwise, padding=size // 2, groups=4)
        x = norm(F.conv2d(x, pointwise))
    torch.testing.assert_close(op(X.relu()), x)


@pytest.mark.parametrize(("name", "size"), [("dil_conv_3x3", 3), ("dil_conv_5x5", 5)])
def test_dilated_convolution_skips_every_other_pixel(name: str, size: int) -> None:
    op = build_op(name)
    (depthwise,), (pointwise,) = weights_of(op, "depthwise"), weights_of(op, "pointwise")
    x = F.conv2d(X.relu(), depthwise, padding=size - 1, dilation=2, groups=4)
    torch.testing.assert_close(op(X.relu()), BatchNorm(1, affine=False)(F.conv2d(x, pointwise)))


def test_the_factorized_convolution_sees_a_row_then_a_column() -> None:
    op = build_op("conv_7x1_1x7")
    (row,), (column,) = weights_of(op, "row"), weights_of(op, "column")
    assert (row.shape[2:], column.shape[2:]) == ((1, 7), (7, 1))
    x = F.conv2d(F.conv2d(X.relu(), row, padding=(0, 3)), column, padding=(3, 0))
    torch.testing.assert_close(op(X.relu()), BatchNorm(1, affine=False)(x))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", GENOTYPE_OPS)
def test_final_operations_halve_maps_of_every_size_alike(name: str, stride: int) -> None:
    op = final_op(name, 4, stride).double()
    for height, width in ((8, 6), (7, 5), (1, 2)):
        y = op(torch.randn(3, 4, height, width, dtype=torch.float64))
        assert y.shape == (3, 4, -(-height // stride), -(-width // stride))
        assert bool(y.any()) == (name != "none")
    norms = [m for m in op.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(isinstance(m, BatchNorm) for m in op.modules())
    assert bool(norms) == (any(True for _ in op.parameters()))


def test_the_skip_of_stride_2_sees_even_and_odd_pixels() -> None:
    op = FactorizedReduce(4, 5, norm=partial(nn.BatchNorm2d, affine=False)).double()
    x = X[:, :, :6]
    even = F.conv2d(x[:, :, ::2, ::2], op.even.weight)
    odd = F.conv2d(x[:, :, 1::2, 1::2], op.odd.weight)
    expected = BatchNorm(5, affine=False)(torch.cat([even, odd], dim=1))
    torch.testing.assert_close(op(x), expected)


def test_pooling_takes_what_lies_within_the_image() -> None:
    largest, mean = max_pool_3x3(X), avg_pool_3x3(X)
    for row in range(X.shape[2]):
        for column in range(X.shape[3]):
            window = X[:, :, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            torch.testing.assert_close(largest[:, :, row, column], window.amax(dim=(2, 3)))
            torch.testing.assert_close(mean[:, :, row, column], window.mean(dim=(2, 3)))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(7, 6), (1, 4), (3, 1), (1, 1)])
def test_max_pooling_without_a_graph_takes_the_tangents_that_torch_takes(
    shape: tuple[int, int], memory_format: torch.memory_format
) -> None:
    x = X[:, :, : shape[0], : shape[1]].relu().contiguous(memory_format=memory_format)
    tangent = torch.arange(x.numel(), dtype=x.dtype).view(x.shape) - 3.7  # equal pixels, but these
    found = []
    for graph in (True, False):
        with torch.set_grad_enabled(graph), forward_ad.dual_level():
            dual = max_pool_3x3(forward_ad.make_dual(x, tangent))
            found.append(forward_ad.unpack_dual(dual))
    assert found[1].tangent is not None
    assert torch.equal(found[0].primal, found[1].primal)
    assert torch.equal(found[0].tangent, found[1].tangent)


@pytest.mark.parametrize("name", OPS)
def test_output_is_normalised_per_channel(name: str) -> None:
    if name == "skip_connect":
        assert build_op(name)(X) is X
        return
    y = build_op(name)(X).detach().numpy()
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=(0, 2, 3)), 1, rtol=1e-2)
