"""The network that a final DARTS cell is trained in, and its size in closed form. No torch.

As in DARTS's evaluation networks (App. B.4): stem, cells with reduction at ⌊L/3⌋ and ⌊2L/3⌋,
where operations on a cell's inputs have stride 2 and channels double, global average, linear;
an auxiliary tower after the second reduction cell. A convolution costs its multiply-adds at the
pixels of its output; batch norm, pooling and additions cost none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from nasi_ray.arrays import IntArray
from nasi_ray.errors import ConfigError, UnknownNameError
from nasi_ray.spaces.darts import CELL_TYPES
from nasi_ray.spaces.genotype import GENOTYPE_OPS, NUM_INPUT_NODES, Genotype

STEM_MULTIPLIER = 3
AUXILIARY_CHANNELS = (128, 768)
MAX_CHANNELS = 4096
MAX_CELLS = 1000


class Separable(NamedTuple):
    """A depthwise and a 1×1 convolution with batch norm, ``repeats`` times."""

    kernel_size: int
    dilation: int
    repeats: int


SEPARABLE = {
    "sep_conv_3x3": Separable(3, 1, 2),
    "sep_conv_5x5": Separable(5, 1, 2),
    "sep_conv_7x7": Separable(7, 1, 2),
    "dil_conv_3x3": Separable(3, 2, 1),
    "dil_conv_5x5": Separable(5, 2, 1),
}
"""Operation -> its convolutions; those of stride 2 have it in the first depthwise one."""


class NetworkCost(NamedTuple):
    """What a part of a network costs."""

    params: int
    """Trainable parameters."""
    multiply_adds: int
    """Of convolutions and linear layers, for one image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalNetwork:
    """A network but for its cell.

    Raises:
        ConfigError: If a number is out of its range.
    """

    init_channels: int
    """C, the channels of the first cells."""
    num_cells: int
    """L."""
    num_classes: int
    image_size: int
    """Height and width of the images in pixels; parameters do not depend on it."""
    imagenet_stem: bool = False
    """Two stems that divide the image's sides by 4 and by 8, in place of one that keeps them."""

    def __post_init__(self) -> None:
        smallest = 2 if self.imagenet_stem else 1
        for name, low, high in (
            ("init_channels", smallest, MAX_CHANNELS),
            ("num_cells", 1, MAX_CELLS),
            ("num_classes", 1, 1_000_000),
            ("image_size", 1, 100_000),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be {low} to {high}")


NETWORKS = {
    "cifar10": FinalNetwork(init_channels=36, num_cells=20, num_classes=10, image_size=32),
    "cifar100": FinalNetwork(init_channels=36, num_cells=20, num_classes=100, image_size=32),
    "imagenet": FinalNetwork(
        init_channels=46, num_cells=14, num_classes=1000, image_size=224, imagenet_stem=True
    ),
}
"""The paper's networks (App. B.4). DARTS itself has 48 channels on ImageNet."""


def final_network(
    network: str = "cifar10",
    *,
    init_channels: int | None = None,
    num_cells: int | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
) -> FinalNetwork:
    """One of ``NETWORKS``, with what is given in place of its own numbers.

    Raises:
        UnknownNameError: If the network is not known.
        ConfigError: If a number is out of its range.
    """
    if network not in NETWORKS:
        raise UnknownNameError("network", network, list(NETWORKS))
    usual = NETWORKS[network]
    return FinalNetwork(
        init_channels=usual.init_channels if init_channels is None else init_channels,
        num_cells=usual.num_cells if num_cells is None else num_cells,
        num_classes=usual.num_classes if num_classes is None else num_classes,
        image_size=usual.image_size if image_size is None else image_size,
        imagenet_stem=usual.imagenet_stem,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class CellPlan:
    """One cell's place in a network."""

    cell_type: str
    """``normal`` or ``reduce``."""
    channels: int
    """Of its nodes."""
    in_channels: tuple[int, int]
    """Of the outputs of the two cells before."""
    size: int
    """Height and width of its two inputs, once projected."""
    halves_first: bool
    """Whether the first input is twice as large, so that its projection has stride 2."""

    @property
    def stride(self) -> int:
        """Of the operations on the cell's inputs."""
        return 2 if self.cell_type == "reduce" else 1

    @property
    def out_size(self) -> int:
        """Height and width of its nodes."""
        return -(-self.size // self.stride)


def plan_cells(network: FinalNetwork, num_concat: Mapping[str, int]) -> list[CellPlan]:
    """Lay the cells out.

    Args:
        network: The network.
        num_concat: Cell type -> nodes that a cell's output concatenates.
    """
    channels, size = network.init_channels, network.image_size
    width = channels if network.imagenet_stem else STEM_MULTIPLIER * channels
    in_channels, halves_first = (width, width), network.imagenet_stem
    if network.imagenet_stem:
        size = halved(halved(halved(size)))
    reductions = reduction_cells(network.num_cells)
    plans = []
    for position in range(network.num_cells):
        cell_type = "reduce" if position in reductions else "normal"
        channels *= 2 if cell_type == "reduce" else 1
        plan = CellPlan(
            cell_type=cell_type,
            channels=channels,
            in_channels=in_channels,
            size=size,
            halves_first=halves_first,
        )
        plans.append(plan)
        in_channels = (in_channels[1], num_concat[cell_type] * channels)
        size, halves_first = plan.out_size, cell_type == "reduce"
    return plans


def reduction_cells(num_cells: int) -> tuple[int, ...]:
    """Positions of the reduction cells, ascending: ⌊L/3⌋ and ⌊2L/3⌋."""
    return tuple(sorted({num_cells // 3, 2 * num_cells // 3}))


def halved(size: int) -> int:
    """Pixels after a stride of 2."""
    return -(-size // 2)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OperationCosts:
    """An additive table: a network's cost is ``base`` plus an entry per (operation, input) pair.

    Entries are summed over all cells of a type. Arrays have the shape (2, 2, operations): cell
    type as in ``CELL_TYPES``; input from a preceding cell (0), where operations of reduction cells
    have stride 2, or from a node (1); operation as in ``GENOTYPE_OPS``. They are read-only.
    """

    params: IntArray
    multiply_adds: IntArray
    base: NetworkCost
    """Stem, projections of the cells' inputs, and classifier."""
    auxiliary_params: int
    """Parameters of the auxiliary tower, which are in nothing else."""

    def total(self, genotype: Genotype) -> NetworkCost:
        """What the network of a cell costs, which must concatenate as many nodes as the table's."""
        params, multiply_adds = self.base
        for cell_type, edges in enumerate((genotype.normal, genotype.reduce)):
            for op, source in edges:
                entry = cell_type, int(source >= NUM_INPUT_NODES), GENOTYPE_OPS.index(op)
                params += int(self.params[entry])
                multiply_adds += int(self.multiply_adds[entry])
        return NetworkCost(params, multiply_adds)


@lru_cache(maxsize=64)
def operation_costs(
    network: FinalNetwork = NETWORKS["cifar10"], *, num_concat: tuple[int, int] = (4, 4)
) -> OperationCosts:
    """What every operation adds to a network.

    Args:
        network: The network.
        num_concat: Nodes that the output of a normal and of a reduction cell concatenates (≥ 1).
    """
    plans = plan_cells(network, dict(zip(CELL_TYPES, num_concat, strict=True)))
    table = np.zeros((2, len(CELL_TYPES), 2, len(GENOTYPE_OPS)), dtype=np.int64)
    parts = _stem(network)
    for plan in plans:
        parts += [_dense(width, plan.channels, plan.size) for width in plan.in_channels]
        cell_type = CELL_TYPES.index(plan.cell_type)
        for i, op in enumerate(GENOTYPE_OPS):
            table[:, cell_type, 0, i] += _operation(op, plan.channels, plan.size, plan.stride)
            table[:, cell_type, 1, i] += _operation(op, plan.channels, plan.out_size, 1)
    table.setflags(write=False)
    width = num_concat[CELL_TYPES.index(plans[-1].cell_type)] * plans[-1].channels
    params, multiply_adds = (sum(numbers) for numbers in zip(*parts, strict=True))
    last = plans[reduction_cells(network.num_cells)[-1]]
    return OperationCosts(
        params=table[0],
        multiply_adds=table[1],
        base=NetworkCost(
            params + (width + 1) * network.num_classes,
            multiply_adds + width * network.num_classes,
        ),
        auxiliary_params=_auxiliary_params(network, num_concat[1] * last.channels),
    )


def costs_of(genotype: Genotype, network: FinalNetwork) -> OperationCosts:
    """The table for networks of a cell."""
    num_concat = len(genotype.normal_concat), len(genotype.reduce_concat)
    return operation_costs(network, num_concat=num_concat)


def num_params(
    genotype: Genotype,
    network: str = "cifar10",
    *,
    init_channels: int | None = None,
    num_cells: int | None = None,
    num_classes: int | None = None,
    auxiliary: bool = False,
) -> int:
    """Parameters of the network of a cell, which is not built.

    Args:
        genotype: The cell.
        network: A name of ``NETWORKS``, whose numbers stand where none is given.
        init_channels: C.
        num_cells: L.
        num_classes: Classes.
        auxiliary: Whether the auxiliary tower counts.

    Raises:
        UnknownNameError: If the network is not known.
        ConfigError: If a number is out of its range.
    """
    config = final_network(
        network, init_channels=init_channels, num_cells=num_cells, num_classes=num_classes
    )
    costs = costs_of(genotype, config)
    return costs.total(genotype).params + (costs.auxiliary_params if auxiliary else 0)


def multiply_adds(
    genotype: Genotype,
    network: str = "cifar10",
    *,
    init_channels: int | None = None,
    num_cells: int | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
) -> int:
    """Multiply-adds of one image in the network of a cell, without the auxiliary tower.

    Args:
        genotype: The cell.
        network: A name of ``NETWORKS``, whose numbers stand where none is given.
        init_channels: C.
        num_cells: L.
        num_classes: Classes.
        image_size: Height and width in pixels.

    Raises:
        UnknownNameError: If the network is not known.
        ConfigError: If a number is out of its range.
    """
    config = final_network(
        network,
        init_channels=init_channels,
        num_cells=num_cells,
        num_classes=num_classes,
        image_size=image_size,
    )
    return costs_of(genotype, config).total(genotype).multiply_adds


def _stem(network: FinalNetwork) -> list[NetworkCost]:
    channels, size = network.init_channels, network.image_size
    if not network.imagenet_stem:
        return [_dense(3, STEM_MULTIPLIER * channels, size, area=9)]
    sizes = [size := halved(size) for _ in range(3)]
    widths = (3, channels // 2, channels, channels)
    return [_dense(widths[i], widths[i + 1], sizes[i], area=9) for i in range(3)]


def _dense(in_channels: int, out_channels: int, size: int, *, area: int = 1) -> NetworkCost:
    """A convolution with batch norm; ``area``: pixels of its kernel."""
    weights = area * in_channels * out_channels
    return NetworkCost(weights + 2 * out_channels, weights * size**2)


def _operation(op: str, channels: int, size: int, stride: int) -> NetworkCost:
    """One operation on a map of ``size`` by ``size`` pixels."""
    out = -(-size // stride)
    if op in SEPARABLE:
        kernel_size, _, repeats = SEPARABLE[op]
        weights = kernel_size**2 * channels + channels**2
        return NetworkCost(repeats * (weights + 2 * channels), repeats * weights * out**2)
    if op == "conv_7x1_1x7":
        weights = 7 * channels**2
        return NetworkCost(2 * weights + 2 * channels, weights * (size + out) * out)
    if op == "skip_connect" and stride > 1:
        return _dense(channels, channels, out)
    return NetworkCost(0, 0)


def _auxiliary_params(network: FinalNetwork, in_channels: int) -> int:
    narrow, wide = AUXILIARY_CHANNELS
    # DARTS's tower for ImageNet has no batch norm after its second convolution.
    norms = 2 * narrow + (0 if network.imagenet_stem else 2 * wide)
    convolutions = in_channels * narrow + 4 * narrow * wide
    return convolutions + norms + (wide + 1) * network.num_classes
