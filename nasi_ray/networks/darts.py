"""The one-shot network of the DARTS space (App. B.2)."""

from __future__ import annotations

from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasi_ray.networks.by_space import SpaceNetworks
from nasi_ray.networks.mixture import Applied, Candidate, Mixer
from nasi_ray.networks.ops import OPS, plain_conv_norm
from nasi_ray.networks.standalone_darts import DartsNetwork
from nasi_ray.spaces.base import SearchSpace
from nasi_ray.spaces.darts import CELL_TYPES, NUM_NODES
from nasi_ray.spaces.final_network import STEM_MULTIPLIER, reduction_cells
from nasi_ray.spaces.genotype import DARTS_OPS


class MixedNode(nn.Module):
    """An intermediate node: one operation of all, applied to one input of all."""

    def __init__(self, channels: int, decision: int) -> None:
        super().__init__()
        self._decision = decision
        self.ops = nn.ModuleDict({name: OPS[name](channels) for name in DARTS_OPS})

    def forward(self, inputs: list[Tensor], mixer: Mixer, cell: int) -> Tensor:
        """The mixture Σ_j h_j o_j(x_in) with x_in = Σ_k w_k x_k."""
        x = mixer.mix(cell, self._decision + 1, [partial(_identity, s) for s in inputs])
        rectified: Candidate = cache(partial(F.relu, x))
        return mixer.mix(
            cell,
            self._decision,
            [
                Applied(op, rectified if op.rectified else partial(_identity, x))
                for op in self.ops.values()
            ],
        )


class MixedCell(nn.Module):
    """A cell: its two inputs projected to ``channels``, four nodes, concatenated."""

    def __init__(self, in_channels: tuple[int, int], channels: int, cell_type: str) -> None:
        super().__init__()
        first = CELL_TYPES.index(cell_type) * 2 * NUM_NODES
        self.project = nn.ModuleList(
            plain_conv_norm(width, channels, 1, rectify=True) for width in in_channels
        )
        self.nodes = nn.ModuleList(MixedNode(channels, first + 2 * i) for i in range(NUM_NODES))

    def forward(self, s0: Tensor, s1: Tensor, mixer: Mixer, cell: int) -> Tensor:
        """Apply to the outputs of the two cells before."""
        states = [project(s) for project, s in zip(self.project, (s0, s1), strict=True)]
        for node in self.nodes:
            states.append(node(states, mixer, cell))
        return torch.cat(states[2:], dim=1)


class DartsSupernet(nn.Module):
    """Stem, cells with max pooling before each reduction cell, global average, linear.

    All operations have stride 1. Channels double at a reduction cell.
    """

    def __init__(self, *, init_channels: int, num_cells: int, num_classes: int) -> None:
        super().__init__()
        self.cell_types = cell_types(num_cells)
        width = STEM_MULTIPLIER * init_channels
        self.stem = plain_conv_norm(3, width, 3, rectify=False)
        in_channels, channels, cells = (width, width), init_channels, []
        for cell_type in self.cell_types:
            channels *= 2 if cell_type == "reduce" else 1
            cells.append(MixedCell(in_channels, channels, cell_type))
            in_channels = (in_channels[1], NUM_NODES * channels)
        self.cells = nn.ModuleList(cells)
        self.classifier = nn.Linear(in_channels[1], num_classes)

    def forward(self, x: Tensor, mixer: Mixer) -> Tensor:
        """Logits, shape (batch, classes), of images of shape (batch, 3, height, width)."""
        s0 = s1 = self.stem(x)
        for i, (cell, cell_type) in enumerate(zip(self.cells, self.cell_types, strict=True)):
            if cell_type == "reduce":
                s0, s1 = F.max_pool2d(s0, 2), F.max_pool2d(s1, 2)
            s0, s1 = s1, cell(s0, s1, mixer, i)
        logits: Tensor = self.classifier(s1.mean(dim=(2, 3)))
        return logits


def cell_types(num_cells: int) -> tuple[str, ...]:
    """Type of each cell; reduction at ⌊L/3⌋ and ⌊2L/3⌋."""
    reductions = reduction_cells(num_cells)
    return tuple("reduce" if i in reductions else "normal" for i in range(num_cells))


def networks(space: SearchSpace) -> SpaceNetworks:
    """The networks of the space, and of lists of its cells."""
    return SpaceNetworks(supernet=DartsSupernet, cell_types=cell_types, standalone=DartsNetwork)


def _identity(x: Tensor) -> Tensor:
    return x
