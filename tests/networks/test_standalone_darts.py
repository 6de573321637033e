"""Stand-alone networks of DARTS cells in the style of the search."""

from __future__ import annotations

import random
from functools import partial

import pytest
import torch
from torch import nn

from nasi_ray.networks.batch_norm import BatchNorm
from nasi_ray.networks.by_space import make_standalone
from nasi_ray.networks.darts import DartsSupernet
from nasi_ray.networks.initialization import build
from nasi_ray.networks.mixture import PathMixer
from nasi_ray.networks.standalone_darts import DartsNetwork
from nasi_ray.spaces.genotype import DARTS_OPS, GENOTYPE_OPS, Edge, Genotype
from tests.spaces.cells import random_genotype

NUM_CELLS = 4
X = torch.randn((3, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def make(cell: Genotype) -> nn.Module:
    small = partial(make_standalone, "darts", num_classes=5, num_channels=3, num_cells=NUM_CELLS)
    return build(partial(small, cell), seed=1, dtype=torch.float64)


def path_cell(generator: random.Random) -> tuple[tuple[Edge, ...], list[tuple[int, int]]]:
    """Pairs whose second operation is *none*, and the same path through the supernet."""
    edges: list[Edge] = []
    path = []
    for node in range(4):
        op, source = generator.randrange(len(DARTS_OPS)), generator.randrange(2 + node)
        edges += [(DARTS_OPS[op], source), ("none", 0)]
        path.append((op, source))
    return tuple(edges), path


def _taken(path: list[int], cell: int, decision: int) -> tuple[int, ...]:
    return (path[decision],)


def test_with_one_operation_a_node_it_is_the_supernet_on_that_path() -> None:
    generator = random.Random(0)
    for _ in range(5):
        (normal, a), (reduce, b) = path_cell(generator), path_cell(generator)
        concat = (2, 3, 4, 5)
        cell = Genotype(normal=normal, normal_concat=concat, reduce=reduce, reduce_concat=concat)
        net = make(cell)
        supernet = build(
            partial(DartsSupernet, init_channels=3, num_cells=NUM_CELLS, num_classes=5),
            seed=2,
            dtype=torch.float64,
        )
        path = [pair[d] for pair in (*a, *b) for d in (0, 1)]
        renamed = {}
        for name, value in net.state_dict().items():
            parts = name.split(".")
            if "ops" in parts:  # cells.<i>.ops.<edge>.… -> cells.<i>.nodes.<node>.ops.<op>.…
                cell_edges = reduce if supernet.cell_types[int(parts[1])] == "reduce" else normal  # type: ignore[index]
                edge = int(parts[3])
                parts[2:4] = ["nodes", str(edge // 2), "ops", cell_edges[edge][0]]
            renamed[".".join(parts)] = value
        missing = supernet.load_state_dict(renamed, strict=False)
        assert not missing.unexpected_keys
        expected = supernet(X, PathMixer(partial(_taken, path)))
        torch.testing.assert_close(net(X), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("op", GENOTYPE_OPS)
def test_doubled_inputs_add_up(op: str) -> None:
    edges = ((op, 1), (op, 1))
    cell = Genotype(normal=edges, normal_concat=(2,), reduce=edges, reduce_concat=(2,))
    logits = make(cell)(X)
    assert logits.shape == (3, 5)
    assert torch.isfinite(logits).all()
    is_cut_off = bool((logits == logits[0]).all())
    assert is_cut_off == (op == "none")


def test_any_cell_has_a_network_with_plain_batch_norm_and_gradients() -> None:
    generator = random.Random(5)
    for _ in range(25):
        net = make(random_genotype(generator))
        assert net(X).shape == (3, 5)
        norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d | BatchNorm)]
        assert all(isinstance(m, BatchNorm) and m.weight is None for m in norms)


def test_an_unused_operation_still_counts() -> None:
    edges = (("sep_conv_3x3", 0), ("none", 1), ("skip_connect", 0), ("none", 0))
    concat = {"normal_concat": (3,), "reduce_concat": (3,)}
    loose = Genotype(normal=edges, reduce=edges, **concat)
    bare = Genotype(normal=edges[2:], reduce=edges[2:], normal_concat=(2,), reduce_concat=(2,))
    with torch.device("meta"):
        counts = [sum(p.numel() for p in DartsNetwork(c).parameters()) for c in (loose, bare)]
    assert counts[0] > counts[1]
