from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from nasi_ray.networks.darts import DartsSupernet, cell_types
from nasi_ray.networks.initialization import build
from nasi_ray.networks.mixture import Candidate, PathMixer, WeightedMixer
from nasi_ray.spaces.darts import DartsSpace
from nasi_ray.spaces.genotype import DARTS_OPS

SPACE = DartsSpace()


def supernet(init_channels: int = 2, num_cells: int = 6, num_classes: int = 10) -> nn.Module:
    make = partial(
        DartsSupernet,
        init_channels=init_channels,
        num_cells=num_cells,
        num_classes=num_classes,
    )
    return build(make, seed=0, dtype=torch.float64)


def images(size: int = 16, batch_size: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn((batch_size, 3, size, size), generator=generator, dtype=torch.float64)


def op_at(name: str, source: int) -> PathMixer:
    """Every node takes this operation and this input."""
    return PathMixer(lambda cell, d: (source if d % 2 else DARTS_OPS.index(name),))


def parameters_by_hand(init_channels: int, num_cells: int, num_classes: int) -> int:
    width = 3 * init_channels
    total = 3 * width * 9
    before, last, channels = width, width, init_channels
    for i in range(num_cells):
        channels *= 2 if i in (num_cells // 3, 2 * num_cells // 3) else 1
        total += (before + last) * channels
        twice = 2 * (9 * channels + channels**2) + 2 * (25 * channels + channels**2)
        once = (9 * channels + channels**2) + (25 * channels + channels**2)
        total += 4 * (twice + once)
        before, last = last, 4 * channels
    return total + last * num_classes + num_classes


@pytest.mark.parametrize(
    ("init_channels", "num_cells", "num_classes"), [(16, 8, 10), (1, 3, 2), (5, 9, 100)]
)
def test_number_of_parameters(init_channels: int, num_cells: int, num_classes: int) -> None:
    net = supernet(init_channels, num_cells, num_classes)
    found = sum(p.numel() for p in net.parameters())
    assert found == parameters_by_hand(init_channels, num_cells, num_classes)


def test_parameter_shapes() -> None:
    shapes = {name: tuple(p.shape) for name, p in supernet(2, 3, 10).named_parameters()}
    assert shapes["stem.conv.weight"] == (6, 3, 3, 3)
    assert shapes["cells.0.project.0.conv.weight"] == (2, 6, 1, 1)
    assert shapes["cells.1.project.0.conv.weight"] == (4, 6, 1, 1)
    assert shapes["cells.1.project.1.conv.weight"] == (4, 8, 1, 1)
    assert shapes["cells.2.project.0.conv.weight"] == (8, 8, 1, 1)
    assert shapes["cells.2.project.1.conv.weight"] == (8, 16, 1, 1)
    assert shapes["cells.2.nodes.3.ops.sep_conv_5x5.depthwise.1.weight"] == (8, 1, 5, 5)
    assert shapes["cells.2.nodes.3.ops.dil_conv_3x3.pointwise.0.weight"] == (8, 8, 1, 1)
    assert shapes["classifier.weight"] == (10, 32)
    assert shapes["classifier.bias"] == (10,)


@given(num_cells=st.integers(3, 40))
def test_reductions_lie_at_a_third_and_two_thirds(num_cells: int) -> None:
    types = cell_types(num_cells)
    assert len(types) == num_cells
    reductions = [i for i, cell_type in enumerate(types) if cell_type == "reduce"]
    assert reductions == [num_cells // 3, 2 * num_cells // 3]


def test_reductions_of_the_default_network() -> None:
    assert [i for i, t in enumerate(cell_types(8)) if t == "reduce"] == [2, 5]


@pytest.mark.parametrize("size", [8, 11, 16, 32])
def test_maps_halve_and_channels_double_at_each_reduction(size: int) -> None:
    net = supernet(init_channels=2, num_cells=6)
    shapes = []
    cells = net.get_submodule("cells")
    for cell in cells.children():
        cell.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape)))
    logits = net(images(size), op_at("sep_conv_3x3", 1))
    half, quarter = size // 2, size // 4
    assert shapes == [
        (2, 8, size, size),
        (2, 8, size, size),
        (2, 16, half, half),
        (2, 16, half, half),
        (2, 32, quarter, quarter),
        (2, 32, quarter, quarter),
    ]
    assert logits.shape == (2, 10)


def test_both_inputs_of_a_reduction_cell_are_max_pooled() -> None:
    net = supernet(num_cells=4)
    outputs = {}
    inputs = {}
    stem = net.get_submodule("stem")
    stem.register_forward_hook(lambda _, __, out: outputs.update({-1: out}))
    for i in range(3):
        cell = net.get_submodule(f"cells.{i}")
        cell.register_forward_hook(lambda _, __, out, i=i: outputs.update({i: out}))
        cell.register_forward_pre_hook(lambda _, args, i=i: inputs.update({i: args[:2]}))
    net(images(), op_at("sep_conv_3x3", 1))

    def windows(x: Tensor) -> Tensor:
        return x.unfold(2, 2, 2).unfold(3, 2, 2)

    assert torch.equal(inputs[0][0], outputs[-1])
    assert torch.equal(inputs[0][1], outputs[-1])
    assert cell_types(4)[1] == cell_types(4)[2] == "reduce"
    for of_cell, of_output in ((inputs[1][0], outputs[-1]), (inputs[1][1], outputs[0])):
        assert torch.equal(of_cell, windows(of_output).amax(dim=(4, 5)))
    # The output before last is twice too large by now, so it has been pooled once before.
    twice = windows(windows(outputs[0]).amax(dim=(4, 5))).amax(dim=(4, 5))
    assert torch.equal(inputs[2][0], twice)
    assert torch.equal(inputs[2][1], windows(outputs[1]).amax(dim=(4, 5)))


def test_every_choice_point_offers_the_candidates_of_its_decision() -> None:
    net = supernet(num_cells=4)
    offered: list[tuple[int, int, int]] = []

    class Recorder:
        def mix(self, cell: int, decision: int, candidates: list[Candidate]) -> Tensor:
            offered.append((cell, decision, len(candidates)))
            shapes = {tuple(candidate().shape) for candidate in candidates}
            assert len(shapes) == 1
            return candidates[0]()

    net(images(), Recorder())
    expected = [
        (cell, d, SPACE.decisions[d].size)
        for cell, cell_type in enumerate(cell_types(4))
        for d in SPACE.cell_types[cell_type]
    ]
    assert sorted(offered) == sorted(expected)


@pytest.mark.parametrize("name", DARTS_OPS)
def test_candidates_lie_in_the_order_of_their_names(name: str) -> None:
    net = supernet(num_cells=3)
    net(images(), op_at(name, 1)).sum().backward()
    used = {
        part[len("ops.") :].split(".")[0]
        for key, p in net.named_parameters()
        if p.grad is not None and "ops." in key
        for part in [key[key.index("ops.") :]]
    }
    assert used == ({name} if "conv" in name else set())


def test_inputs_lie_in_the_order_of_their_names() -> None:
    # Node 3 takes node 2 and is the only one to take an intermediate node; the others take c_{k-2}.
    net = supernet(num_cells=3)
    sources = {7: 4, 15: 4}
    mixer = PathMixer(lambda cell, d: (sources.get(d, 0) if d % 2 else DARTS_OPS.index(OP),))
    seen: dict[str, Tensor] = {}
    cell = net.get_submodule("cells.0")
    for name in ("project.0", "project.1", "nodes.2", "nodes.3"):
        module = cell.get_submodule(name)
        module.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    op = cell.get_submodule(f"nodes.3.ops.{OP}")
    op.register_forward_hook(lambda _, args, __: seen.update({"taken": args[0]}))
    first = cell.get_submodule(f"nodes.0.ops.{OP}")
    first.register_forward_hook(lambda _, args, __: seen.update({"first": args[0]}))
    net(images(), mixer)
    assert torch.equal(seen["taken"], seen["nodes.2"].relu())
    assert torch.equal(seen["first"], seen["project.0"].relu())


OP = "dil_conv_3x3"


def test_only_the_sampled_path_gets_gradients() -> None:
    net = supernet(num_cells=3)
    net(images(), op_at("sep_conv_5x5", 0)).square().sum().backward()
    got = {name for name, p in net.named_parameters() if p.grad is not None}
    expected = {
        name
        for name, _ in net.named_parameters()
        # Every node takes c_{k-2}, so no cell uses c_{k-1}: the last two cells hang on cell 0.
        if (".nodes." not in name or "sep_conv_5x5" in name) and ".project.1." not in name
    }
    unused = {name for name in expected if name.startswith("cells.1.")}
    assert got == expected - unused
    assert unused


def test_one_hot_weights_give_the_sampled_path() -> None:
    net = supernet(num_cells=4)
    generator = torch.Generator().manual_seed(0)
    taken = {
        (cell, d): int(torch.randint(decision.size, (), generator=generator))
        for cell in range(4)
        for d, decision in enumerate(SPACE.decisions)
    }

    def one_hot(cell: int, d: int) -> Tensor:
        return torch.eye(SPACE.decisions[d].size, dtype=torch.float64)[taken[cell, d]]

    path = net(images(), PathMixer(lambda cell, d: (taken[cell, d],)))
    torch.testing.assert_close(net(images(), WeightedMixer(one_hot)), path, rtol=1e-12, atol=0)
