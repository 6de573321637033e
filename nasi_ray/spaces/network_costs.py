"""Parameters and multiply-adds of the networks of DARTS cells, in closed form. No torch.

A convolution costs its multiply-adds at the pixels of its output; batch norm, pooling and additions
cost none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from nasi_ray.arrays import IntArray
from nasi_ray.spaces.darts import CELL_TYPES
from nasi_ray.spaces.final_network import (
    AUXILIARY_CHANNELS,
    NETWORKS,
    SEPARABLE,
    STEM_MULTIPLIER,
    FinalNetwork,
    final_network,
    halved,
    plan_cells,
    reduction_cells,
)
from nasi_ray.spaces.genotype import GENOTYPE_OPS, NUM_INPUT_NODES, Genotype


class NetworkCost(NamedTuple):
    """What a part of a network costs."""

    params: int
    """Trainable parameters."""
    multiply_adds: int
    """Of convolutions and linear layers, for one image."""


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
