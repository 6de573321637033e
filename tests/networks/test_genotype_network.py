"""Networks for training DARTS cells: as large as the closed form says, and called as promised."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasi_ray.nasi.loss import LOSSES
from nasi_ray.networks.genotype_network import FinalCell, GenotypeNetwork, drop_path
from nasi_ray.networks.initialization import build
from nasi_ray.proxies.multiply_adds import score as multiply_adds
from nasi_ray.spaces.final_network import NETWORKS, FinalNetwork, final_network
from nasi_ray.spaces.genotype import GENOTYPE_OPS, Genotype
from nasi_ray.spaces.network_costs import costs_of
from tests.spaces.cells import DARTS_V2, random_genotype

V2 = Genotype.parse(DARTS_V2)
SMALL = final_network(init_channels=4, num_cells=5)
IMAGENET = final_network("imagenet", init_channels=5, num_cells=4, num_classes=7)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def on_meta(cell: Genotype, network: FinalNetwork, *, auxiliary: bool = False) -> nn.Module:
    with torch.device("meta"):
        return GenotypeNetwork(cell, network, auxiliary=auxiliary)


def counted(net: nn.Module, size: int) -> float:
    x, y = torch.empty((1, 3, size, size), device="meta"), torch.empty(0, dtype=torch.int64)
    return multiply_adds(net, x, y, loss=LOSSES["cross-entropy"])


def test_the_published_cell_has_its_parameters() -> None:
    assert count(on_meta(V2, NETWORKS["cifar10"])) == 3_349_342
    assert count(on_meta(V2, final_network("imagenet", init_channels=48))) == 4_718_752
    whole = on_meta(V2, NETWORKS["cifar10"], auxiliary=True)
    assert count(whole) == 3_349_342 + 476_426


@pytest.mark.parametrize("name", NETWORKS)
def test_costs_in_closed_form_are_those_of_the_network(name: str) -> None:
    generator = random.Random(name)
    for _ in range(12):
        cell = random_genotype(generator)
        network = final_network(
            name,
            init_channels=generator.randint(2, 9),
            num_cells=generator.randint(1, 7),
            num_classes=generator.randint(1, 12),
            image_size=generator.choice((32, 33, 49, 64)),
        )
        costs, net = costs_of(cell, network), on_meta(cell, network)
        assert costs.total(cell) == (count(net), counted(net, network.image_size))
        whole = on_meta(cell, network, auxiliary=True)
        assert count(whole) - count(net) == costs.auxiliary_params


@pytest.mark.parametrize("network", [SMALL, IMAGENET], ids=["cifar", "imagenet"])
def test_auxiliary_logits_come_while_training_alone(network: FinalNetwork) -> None:
    net = GenotypeNetwork(V2, network)
    for size in (32, 64) if network is SMALL else (224, 64):
        x = torch.randn(2, 3, size, size)
        logits, auxiliary = net.train()(x)
        assert logits.shape == auxiliary.shape == (2, network.num_classes)
        assert net.eval()(x).shape == (2, network.num_classes)
    plain = GenotypeNetwork(V2, network, auxiliary=False).train()
    assert plain(x).shape == (2, network.num_classes)


def test_training_reaches_every_parameter_of_a_connected_cell() -> None:
    torch.manual_seed(0)
    net = GenotypeNetwork(V2, SMALL).train()
    net.drop_path_prob = 0.5
    logits, auxiliary = net(torch.randn(4, 3, 32, 32))
    (logits.square().sum() + auxiliary.square().sum()).backward()
    assert all(p.grad is not None for p in net.parameters())
    assert sum(float(p.grad.abs().sum()) > 0 for p in net.parameters() if p.grad is not None) > 100
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.affine and m.running_mean is not None for m in norms)


@pytest.mark.parametrize("op", GENOTYPE_OPS)
def test_every_operation_gives_gradients_to_all_before_it(op: str) -> None:
    """Also *none*, which distributed training would otherwise refuse."""
    edges = ((op, 0), (op, 1), (op, 2), (op, 2))
    cell = Genotype(normal=edges, normal_concat=(3,), reduce=edges, reduce_concat=(3,))
    net = GenotypeNetwork(cell, SMALL, auxiliary=False).train()
    net(torch.randn(2, 3, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_images_do_not_mix_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    net = GenotypeNetwork(V2, SMALL).eval()
    net.drop_path_prob = 0.9
    one, other = torch.randn(1, 3, 32, 32), torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(net(torch.cat([one, other]))[:1], net(one))


def test_a_node_adds_its_two_operations() -> None:
    torch.manual_seed(0)
    cell = Genotype(
        normal=(("skip_connect", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("none", 0)),
        normal_concat=(2, 3),
        reduce=(("skip_connect", 0), ("skip_connect", 1)),
        reduce_concat=(2,),
    )
    net = GenotypeNetwork(cell, SMALL, auxiliary=False).eval()
    first = net.cells[0]
    assert isinstance(first, FinalCell)
    s0, s1 = torch.randn(2, 12, 8, 8), torch.randn(2, 12, 8, 8)
    a, b = (project(s) for project, s in zip(first.project, (s0, s1), strict=True))
    node = a + nn.functional.max_pool2d(b, 3, stride=1, padding=1)
    torch.testing.assert_close(first(s0, s1, None), torch.cat([node, node], dim=1))


def test_drop_path_drops_whole_images_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    x = torch.ones(20_000, 2, 3, 3)
    y: Tensor = drop_path(x, 0.2)
    per_image = y.flatten(start_dim=1)
    assert (per_image == per_image[:, :1]).all()
    assert set(per_image[:, 0].unique().tolist()) == {0.0, 1.25}
    assert float(y.mean()) == pytest.approx(1, abs=0.02)


def test_drop_path_spares_skip_connections() -> None:
    edges = (("skip_connect", 0), ("skip_connect", 1))
    cell = Genotype(normal=edges, normal_concat=(2,), reduce=edges, reduce_concat=(2,))
    net = GenotypeNetwork(cell, SMALL, auxiliary=False).train()
    x = torch.randn(4, 3, 16, 16)
    outputs = []
    for prob in (None, 0.9):
        torch.manual_seed(0)
        outputs.append(net.cells[0](*net.stem(x), prob))
    assert torch.equal(*outputs)


def test_a_schedule_of_drop_path_compiles_a_network_twice() -> None:
    graphs: list[int] = []

    def compile_graph(graph: torch.fx.GraphModule, inputs: object) -> Callable[..., Any]:
        graphs.append(1)
        return graph.forward

    edges = (("sep_conv_3x3", 0), ("none", 1))
    cell = Genotype(normal=edges, normal_concat=(2,), reduce=edges, reduce_concat=(2,))
    network = final_network(init_channels=2, num_cells=1)
    net = GenotypeNetwork(cell, network).train()
    compiled = torch.compile(net, backend=compile_graph)
    for prob in (0.0, 0.1, 0.2, 0.3):
        net.drop_path_prob = prob
        compiled(torch.randn(2, 3, 8, 8))
    assert net.drop_path_prob == 0.3
    assert len(graphs) == 2  # without and with drop path


def test_parameters_can_be_drawn_from_a_seed() -> None:
    make = partial(GenotypeNetwork, V2, SMALL)
    nets = [build(make, seed=seed, dtype=torch.float32).eval() for seed in (1, 1, 2)]
    x = torch.randn(2, 3, 32, 32)
    one, same, other = (net(x) for net in nets)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
