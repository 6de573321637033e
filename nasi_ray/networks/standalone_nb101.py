"""NAS-Bench-101's own network of one cell."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasi_ray.networks import nb1shot1, stages
from nasi_ray.networks.by_space import SpaceNetworks
from nasi_ray.networks.mixture import add
from nasi_ray.networks.nb1shot1 import ConvNormRelu, make_op
from nasi_ray.spaces.graph import Matrix, prune, vertex_channels
from nasi_ray.spaces.nb1shot1 import NB1Shot1Architecture, NB1Shot1Space


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """The benchmark's batch norm: ε = 1e-5 and momentum 0.997, which is 0.003 in torch."""
    return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.003)


class NB101Cell(nn.Module):
    """A pruned cell: every vertex but the output sums its sources; the output concatenates them.

    The cell's input is added to each of its targets through a separate 1x1 projection. If the
    split of channels gives a source one channel more than its target, the last one is cut off.
    """

    def __init__(
        self, in_channels: int, out_channels: int, matrix: Matrix, ops: Sequence[str]
    ) -> None:
        super().__init__()
        self._channels = vertex_channels(in_channels, out_channels, matrix)
        self._sources = [[u for u in range(1, v) if matrix[u, v]] for v in range(len(ops))]
        self.projections = nn.ModuleDict(
            {
                str(v): ConvNormRelu(in_channels, self._channels[v], 1, norm=batch_norm)
                for v in range(1, len(ops))
                if matrix[0, v]
            }
        )
        self.ops = nn.ModuleList(
            make_op(op, width, norm=batch_norm)
            for op, width in zip(ops[1:-1], self._channels[1:-1], strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply to the output of the cell before."""
        vertices = [x]
        for v, op in enumerate(self.ops, start=1):
            sources = [vertices[u][:, : self._channels[v]] for u in self._sources[v]]
            vertices.append(op(add(*sources, *self._projected(x, v))))
        last = len(vertices)
        joined = [vertices[u] for u in self._sources[last]]
        return add(*([torch.cat(joined, dim=1)] if joined else []), *self._projected(x, last))

    def _projected(self, x: Tensor, v: int) -> list[Tensor]:
        return [self.projections[str(v)](x)] if str(v) in self.projections else []


class NB101Network(nn.Module):
    """3x3 stem, stacks of equal cells, global average, linear; called as ``net(x)``.

    Between stacks the map is halved by max pooling and channels double. Batch norm is torch's
    own: these networks are also for training, which needs running statistics.

    Args:
        matrix: Adjacency matrix of the cell, shape (vertices, vertices); it is pruned first.
        ops: One name per vertex.
        num_channels: Channels of stem and first stack; 128 in the benchmark.
        num_stacks: Stacks.
        cells_per_stack: Cells of each.
        num_classes: Classes.

    Raises:
        InvalidGenotypeError: If it is not a cell, or has no path from input to output.
        ValueError: If there are too few channels to give every vertex one.
    """

    def __init__(
        self,
        matrix: Matrix,
        ops: Sequence[str],
        *,
        num_channels: int = 128,
        num_stacks: int = 3,
        cells_per_stack: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        matrix, ops = prune(matrix, ops)
        joined = int(matrix[1:, -1].sum())
        if num_channels < max(joined, 1):
            raise ValueError(
                f"num_channels is {num_channels}; the cell concatenates {joined} vertices and "
                "needs at least a channel for each"
            )
        self.stem = ConvNormRelu(3, num_channels, 3, norm=batch_norm)
        self.stacks = nn.ModuleList()
        width = num_channels
        for stack in range(num_stacks):
            out = num_channels << stack
            widths = [width] + [out] * (cells_per_stack - 1)
            self.stacks.append(nn.Sequential(*(NB101Cell(w, out, matrix, ops) for w in widths)))
            width = out
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, classes), of images of shape (batch, 3, height, width)."""
        x = self.stem(x)
        for i, stack in enumerate(self.stacks):
            x = stack(F.max_pool2d(x, 2) if i else x)
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


def nb101_network(architecture: NB1Shot1Architecture, **settings: int) -> NB101Network:
    """NAS-Bench-101's network of an architecture of S1, S2 or S3; loose ends are pruned.

    Args:
        architecture: The cell.
        settings: ``NB101Network``'s keywords.
    """
    return NB101Network(architecture.matrix(), architecture.vertex_ops(), **settings)


def networks(space: NB1Shot1Space) -> SpaceNetworks:
    """The networks of S1, S2 or S3."""
    return SpaceNetworks(
        supernet=partial(nb1shot1.NB1Shot1Supernet, space),
        cell_types=stages.cell_types,
        chosen=partial(nb1shot1.chosen, space),
        standalone=nb101_network,
    )
