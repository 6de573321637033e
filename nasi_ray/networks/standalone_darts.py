"""Stand-alone networks of DARTS cells in the style of the search, to score them without training.

As the supernet on one path, but with both operations of every node: stride 1, max pooling before
reduction cells, batch norm without affine parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasi_ray.networks.mixture import add
from nasi_ray.networks.ops import OPS, NodeStates, plain_conv_norm
from nasi_ray.spaces.final_network import STEM_MULTIPLIER, reduction_cells
from nasi_ray.spaces.genotype import Edge, Genotype


class DartsCell(nn.Module):
    """A cell: its two inputs projected to ``channels``, nodes of two operations, concatenated.

    Every operation exists and counts, even if no path leads through it.
    """

    def __init__(
        self,
        edges: tuple[Edge, ...],
        concat: tuple[int, ...],
        in_channels: tuple[int, int],
        channels: int,
    ) -> None:
        super().__init__()
        self._sources = tuple(source for _, source in edges)
        self._concat = concat
        self.project = nn.ModuleList(
            plain_conv_norm(width, channels, 1, rectify=True) for width in in_channels
        )
        self.ops = nn.ModuleDict(
            {str(i): OPS[op](channels) for i, (op, _) in enumerate(edges) if op != "none"}
        )

    def forward(self, s0: Tensor, s1: Tensor) -> Tensor:
        """Apply to the outputs of the two cells before."""
        states = NodeStates(project(s) for project, s in zip(self.project, (s0, s1), strict=True))
        zeros = s0.new_zeros(()).expand_as(states.values[0])
        for first in range(0, len(self._sources), 2):
            brought = [
                states.apply(self.ops[str(edge)], self._sources[edge])
                for edge in (first, first + 1)
                if str(edge) in self.ops
            ]
            states.values.append(add(*(brought or [zeros])))
        return torch.cat([states.values[node] for node in self._concat], dim=1)


class DartsNetwork(nn.Module):
    """Stem, cells with max pooling before each reduction cell, global average, linear.

    Called as ``net(x)``. Channels double at a reduction cell.

    Args:
        genotype: The cell.
        num_channels: Channels C of the first cells (≥ 1).
        num_cells: Cells L (≥ 1); reduction at ⌊L/3⌋ and ⌊2L/3⌋.
        num_classes: Classes.
    """

    def __init__(
        self,
        genotype: Genotype,
        *,
        num_channels: int = 16,
        num_cells: int = 8,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        self._reductions = reduction_cells(num_cells)
        width = STEM_MULTIPLIER * num_channels
        self.stem = plain_conv_norm(3, width, 3, rectify=False)
        in_channels, channels, cells = (width, width), num_channels, []
        for position in range(num_cells):
            edges, concat = genotype.normal, genotype.normal_concat
            if position in self._reductions:
                edges, concat = genotype.reduce, genotype.reduce_concat
                channels *= 2
            cells.append(DartsCell(edges, concat, in_channels, channels))
            in_channels = (in_channels[1], len(concat) * channels)
        self.cells = nn.ModuleList(cells)
        self.classifier = nn.Linear(in_channels[1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, classes), of images of shape (batch, 3, height, width)."""
        s0 = s1 = self.stem(x)
        for position, cell in enumerate(self.cells):
            if position in self._reductions:
                s0, s1 = F.max_pool2d(s0, 2), F.max_pool2d(s1, 2)
            s0, s1 = s1, cell(s0, s1)
        logits: Tensor = self.classifier(s1.mean(dim=(2, 3)))
        return logits
