from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasi_ray.errors import ConfigError, InvalidGenotypeError
from nasi_ray.networks import darts
from nasi_ray.networks.by_space import SpaceNetworks, make_standalone
from nasi_ray.networks.darts import DartsSupernet
from nasi_ray.networks.initialization import build
from nasi_ray.networks.standalone_nb101 import NB101Cell, NB101Network
from nasi_ray.spaces import SPACES
from nasi_ray.spaces.darts import DartsSpace
from nasi_ray.spaces.graph import (
    CONV1X1,
    CONV3X3,
    INPUT,
    MAXPOOL3X3,
    OUTPUT,
    Matrix,
    num_params,
    vertex_channels,
)
from nasi_ray.spaces.nb1shot1 import S1, S2, S3, NB1Shot1Space
from nasi_ray.spaces.nb201 import NB201, NB201Architecture, NB201Space

DOCUMENTED_OPS = (INPUT, CONV1X1, CONV3X3, CONV3X3, CONV3X3, MAXPOOL3X3, OUTPUT)


def matrix(*edges: tuple[int, int], vertices: int) -> Matrix:
    result = np.zeros((vertices, vertices), dtype=np.int8)
    for source, target in edges:
        result[source, target] = 1
    return result


DOCUMENTED = matrix(
    (0, 1), (0, 2), (0, 3), (0, 5), (1, 6), (2, 6), (3, 4), (4, 6), (5, 6), vertices=7
)
"""The example cell of NAS-Bench-101's documentation."""


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_example_cell_has_the_documented_number_of_parameters() -> None:
    with torch.device("meta"):
        assert count(NB101Network(DOCUMENTED, DOCUMENTED_OPS)) == 2_694_282


def test_input_joined_to_the_output_alone_is_a_projection() -> None:
    direct = matrix((0, 1), vertices=2)
    net = NB101Network(direct, (INPUT, OUTPUT), num_channels=4)
    assert count(net) == num_params(direct, (INPUT, OUTPUT), stem_channels=4)
    assert net(torch.randn(2, 3, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("num_channels", [128, 16])
@pytest.mark.parametrize("space", [S1, S2, S3], ids=["s1", "s2", "s3"])
def test_parameters_are_counted_alike_from_graph_and_network(
    space: NB1Shot1Space, num_channels: int
) -> None:
    rng = np.random.default_rng(0)
    for _ in range(25):
        architecture = space.random(rng)
        with torch.device("meta"):
            net = make_standalone(
                space.name, architecture, num_classes=100, num_channels=num_channels
            )
        expected = num_params(
            architecture.matrix(),
            architecture.vertex_ops(),
            stem_channels=num_channels,
            num_classes=100,
        )
        assert count(net) == expected


def table_column(name: str) -> list[object]:
    default = Path(__file__).parents[2].parent / "shared" / "data"
    path = Path(os.environ.get("NASI_DATA", default)) / "nasbench201.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not there; set NASI_DATA to the folder of the tables")
    column: list[object] = pq.read_table(path, columns=[name]).column(name).to_pylist()
    return column


def test_nb201_networks_have_the_parameters_of_the_table() -> None:
    strings, params = table_column("arch"), np.array(table_column("cifar10_params"))
    ascending = np.argsort(params, kind="stable")
    sampled = np.random.default_rng(0).choice(len(params), size=60, replace=False)
    rows = [*ascending[:3], *ascending[-3:], *sampled]
    with torch.device("meta"):
        counts = [
            count(make_standalone("nb201", NB201.parse(str(strings[row])), num_classes=10))
            for row in rows
        ]
    assert counts == params[rows].tolist()
    assert counts[0] < counts[3] / 10


def test_cell_cuts_the_channel_too_many() -> None:
    torch.manual_seed(0)
    # 7 channels over 3 vertices: 3, 2 and 2. Vertex 1 hands vertex 2 two of its three.
    graph = matrix((0, 1), (1, 2), (0, 3), (1, 4), (2, 4), (3, 4), (0, 4), vertices=5)
    ops = (INPUT, CONV3X3, MAXPOOL3X3, CONV1X1, OUTPUT)
    assert vertex_channels(5, 7, graph) == (5, 3, 2, 2, 7)
    cell = NB101Cell(5, 7, graph, ops).double()
    x = torch.randn(3, 5, 6, 6, dtype=torch.float64)

    def project(vertex: int) -> Tensor:
        result: Tensor = cell.projections[str(vertex)](x)
        return result

    first = cell.ops[0](project(1))
    second = F.max_pool2d(first[:, :2], 3, stride=1, padding=1)
    third = cell.ops[2](project(3))
    expected = torch.cat([first, second, third], dim=1) + project(4)
    torch.testing.assert_close(cell(x), expected, rtol=0, atol=1e-12)


def test_cell_sums_sources_and_its_projected_input() -> None:
    torch.manual_seed(0)
    graph = matrix((0, 1), (0, 2), (0, 3), (1, 3), (2, 3), (3, 4), vertices=5)
    cell = NB101Cell(5, 4, graph, (INPUT, CONV3X3, MAXPOOL3X3, CONV1X1, OUTPUT)).double()
    x = torch.randn(3, 5, 6, 6, dtype=torch.float64)
    projected = [projection(x) for projection in cell.projections.values()]
    first = cell.ops[0](projected[0])
    second = F.max_pool2d(projected[1], 3, stride=1, padding=1)
    expected = cell.ops[2](first + second + projected[2])
    torch.testing.assert_close(cell(x), expected, rtol=0, atol=1e-12)


def test_loose_ends_are_pruned() -> None:
    loose = matrix((0, 1), (1, 3), (0, 2), vertices=4)
    net = NB101Network(loose, (INPUT, CONV3X3, CONV3X3, OUTPUT), num_channels=4)
    kept = NB101Network(
        matrix((0, 1), (1, 2), vertices=3), (INPUT, CONV3X3, OUTPUT), num_channels=4
    )
    assert count(net) == count(kept)
    with pytest.raises(InvalidGenotypeError, match="no path"):
        NB101Network(matrix((0, 1), vertices=3), (INPUT, CONV3X3, OUTPUT))


def test_too_few_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="num_channels is 3; the cell concatenates 4"):
        NB101Network(DOCUMENTED, DOCUMENTED_OPS, num_channels=3)


@pytest.mark.parametrize("space", ["s1", "s2", "s3", "nb201"])
def test_networks_are_ordinary_modules_with_a_trace_norm(space: str) -> None:
    tabular: dict[str, NB1Shot1Space | NB201Space] = {"s1": S1, "s2": S2, "s3": S3, "nb201": NB201}
    architecture = tabular[space].random(np.random.default_rng(3))
    make = partial(make_standalone, space, architecture, num_classes=5, num_channels=6)
    net = build(make, seed=1, dtype=torch.float64)
    x, y = torch.randn(4, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 1, 2, 4])
    logits = net(x)
    v = torch.autograd.grad(F.cross_entropy(logits, y), list(net.parameters()), allow_unused=True)
    e = sum(float(g.square().sum()) for g in v if g is not None)
    assert logits.shape == (4, 5)
    assert np.isfinite(e)
    assert e > 0


@pytest.mark.parametrize("space", ["s1", "nb201"])
def test_running_statistics_start_fresh_and_are_kept_while_training(space: str) -> None:
    architecture = S1.architecture(0) if space == "s1" else NB201Architecture(("nor_conv_3x3",) * 6)
    make = partial(make_standalone, space, architecture, num_classes=5, num_channels=4)
    net = build(make, seed=1, dtype=torch.float32)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert not norm.running_mean.any()
        assert (norm.running_var == 1).all()
        assert (norm.weight == 1).all()
        assert not norm.bias.any()
        assert norm.eps == 1e-5
        assert norm.momentum == {"s1": 0.003, "nb201": 0.1}[space]
    net(torch.randn(4, 3, 16, 16))
    assert all(norm.running_mean is not None and norm.running_mean.any() for norm in norms)
    one = torch.randn(1, 3, 16, 16)
    net.eval()
    torch.testing.assert_close(net(torch.cat([one, torch.randn_like(one)]))[:1], net(one))


def test_nb201_network_without_any_operation_is_constant() -> None:
    net = make_standalone("nb201", NB201Architecture(("none",) * 6), num_classes=3)
    logits = net(torch.randn(2, 3, 32, 32))
    torch.testing.assert_close(logits[0], logits[1])


def bare_networks(space: DartsSpace) -> SpaceNetworks:
    return SpaceNetworks(supernet=DartsSupernet, cell_types=darts.cell_types)


def test_space_without_stand_alone_networks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare(DartsSpace):
        @property
        def networks(self) -> str:
            return f"{__name__}:bare_networks"

    monkeypatch.setitem(SPACES._added, "bare", Bare())
    with pytest.raises(ConfigError, match="'bare' has no stand-alone networks"):
        make_standalone("bare", S1.architecture(0), num_classes=3)
