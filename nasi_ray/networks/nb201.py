"""The one-shot network of NAS-Bench-201: the benchmark's network with all candidates per edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasi_ray.networks.batch_norm import BatchNorm
from nasi_ray.networks.mixture import Candidate, Mixer, add
from nasi_ray.networks.ops import avg_pool_3x3
from nasi_ray.networks.stages import reductions
from nasi_ray.spaces.nb201 import EDGES, KERNEL_SIZES, NB201_OPS, NUM_NODES, NB201Architecture


class ConvNorm(nn.Module):
    """Convolution and batch norm, for an input that has been rectified.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd.
        stride: 1, or 2 to halve the map.
        norm: Channels -> batch norm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        norm: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            bias=False,
        )
        self.norm = norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        y: Tensor = self.norm(self.conv(x))
        return y


class ResidualReduction(nn.Module):
    """Twice ReLU-conv3x3-bn, the first at stride 2, beside average pooling and 1x1 convolution.

    Args:
        in_channels: Channels of the input; the output has twice as many.
        norm: Channels -> batch norm.
    """

    def __init__(self, in_channels: int, *, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        channels = 2 * in_channels
        self.first = ConvNorm(in_channels, channels, 3, stride=2, norm=norm)
        self.second = ConvNorm(channels, channels, 3, norm=norm)
        self.shortcut = nn.Conv2d(in_channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the map (rounded up) and double the channels."""
        y: Tensor = self.second(F.relu(self.first(F.relu(x))))
        shortcut: Tensor = self.shortcut(F.avg_pool2d(x, 2, ceil_mode=True))
        return y + shortcut


_conv_norm = partial(ConvNorm, norm=BatchNorm)


class MixedCell(nn.Module):
    """Four nodes; each but the first sums the outputs of its edges, one of five operations each.

    A node is evaluated when its output is needed, so nodes without a path to the output cost a
    sampled path nothing; ``none`` needs no input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(
            nn.ModuleDict({op: _conv_norm(channels, channels, k) for op, k in KERNEL_SIZES.items()})
            for _ in EDGES
        )

    def forward(self, x: Candidate, zeros: Tensor, mixer: Mixer, cell: int) -> Tensor:
        """Apply.

        Args:
            x: Evaluates the output of the cell before.
            zeros: Output of ``none``.
            mixer: Combines every edge's candidates.
            cell: Position of the cell.
        """
        nodes = [x]
        rectified: list[Candidate] = [cache(partial(_relu, x))]
        for node in range(1, NUM_NODES):
            edges = [
                (d, self._candidates(d, nodes[source], rectified[source], zeros))
                for d, (source, target) in enumerate(EDGES)
                if target == node
            ]
            nodes.append(cache(partial(_sum_edges, edges, mixer, cell)))
            rectified.append(cache(partial(_relu, nodes[node])))
        return nodes[-1]()

    def _candidates(
        self, edge: int, node: Candidate, rectified: Candidate, zeros: Tensor
    ) -> list[Candidate]:
        convs: nn.ModuleDict = self.edges[edge]  # type: ignore[assignment]
        others: dict[str, Candidate] = {
            "none": lambda: zeros,
            "skip_connect": node,
            "avg_pool_3x3": lambda: avg_pool_3x3(node()),
        }
        return [
            partial(_apply, convs[op], rectified) if op in convs else others[op] for op in NB201_OPS
        ]


class NB201Supernet(nn.Module):
    """Stem, three stages of cells with residual blocks of stride 2 between, bn-ReLU, linear.

    The network is evaluated from its end, because a cell that does not connect its input to its
    output needs nothing before it. The calls nest, which ``NB201Space.max_num_cells`` bounds.
    """

    def __init__(self, *, init_channels: int, num_cells: int, num_classes: int) -> None:
        super().__init__()
        self.stem = _conv_norm(3, init_channels, 3)
        channels, stages = init_channels, reductions(num_cells)
        self._channels: list[int] = []
        self.cells, self.reductions = nn.ModuleList(), nn.ModuleDict()
        for i in range(num_cells):
            if i in stages:
                self.reductions[str(i)] = ResidualReduction(channels, norm=BatchNorm)
                channels *= 2
            self.cells.append(MixedCell(channels))
            self._channels.append(channels)
        self.norm = BatchNorm(channels)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor, mixer: Mixer) -> Tensor:
        """Logits, shape (batch, classes), of images of shape (batch, 3, height, width)."""
        size = x.shape[2:]
        state: Candidate = cache(partial(self.stem, x))
        for i, cell in enumerate(self.cells):
            if str(i) in self.reductions:
                state = cache(partial(_apply, self.reductions[str(i)], state))
                size = torch.Size((n + 1) // 2 for n in size)
            # One number seen as many: no memory, and nothing to compute.
            zeros = x.new_zeros(()).expand(len(x), self._channels[i], *size)
            state = cache(partial(cell, state, zeros, mixer, i))
        logits: Tensor = self.classifier(F.relu(self.norm(state())).mean(dim=(2, 3)))
        return logits


def chosen(architecture: NB201Architecture) -> Callable[[int, int], tuple[int, ...]]:
    """The path of an architecture: (cell, decision) -> candidates."""
    path = [(NB201_OPS.index(op),) for op in architecture.ops]
    return lambda cell, decision: path[decision]


def _sum_edges(edges: Sequence[tuple[int, list[Candidate]]], mixer: Mixer, cell: int) -> Tensor:
    return add(*(mixer.mix(cell, d, candidates) for d, candidates in edges))


def _relu(x: Candidate) -> Tensor:
    return F.relu(x())


def _apply(op: Callable[[Tensor], Tensor], x: Candidate) -> Tensor:
    return op(x())
