"""How the network that a final DARTS cell is trained in is laid out. No torch.

As in DARTS's evaluation networks (App. B.4): stem, cells with reduction at ⌊L/3⌋ and ⌊2L/3⌋,
where operations on a cell's inputs have stride 2 and channels double, global average, linear;
an auxiliary tower after the second reduction cell. ``spaces.network_costs`` counts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from nasi_ray.errors import ConfigError, UnknownNameError

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

    @property
    def min_channels(self) -> int:
        """Fewest channels that it can have."""
        return 2 if self.imagenet_stem else 1

    def __post_init__(self) -> None:
        for name, low, high in (
            ("init_channels", self.min_channels, MAX_CHANNELS),
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
