"""The network in which a final DARTS cell is trained (App. B.4), for CIFAR and for ImageNet.

``spaces.final_network`` says how cells are laid out, and ``spaces.network_costs`` counts parameters
and multiply-adds in closed form. Convolution and batch norm are torch's own, so that networks can
be compiled, distributed and exported.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasi_ray.networks.conv import SameConv
from nasi_ray.networks.mixture import add
from nasi_ray.networks.ops import ConvNorm, FactorizedReduce, Identity, NodeStates, final_op
from nasi_ray.spaces.final_network import (
    AUXILIARY_CHANNELS,
    STEM_MULTIPLIER,
    CellPlan,
    FinalNetwork,
    plan_cells,
    reduction_cells,
)
from nasi_ray.spaces.genotype import NUM_INPUT_NODES, Edge, Genotype

_conv_norm = partial(ConvNorm, norm=nn.BatchNorm2d, conv=SameConv)


class GenotypeNetwork(nn.Module):
    """Stem, cells, global average, linear; an auxiliary tower after the last reduction cell.

    Args:
        genotype: The cell.
        network: Everything but the cell; the image's size has no effect here.
        auxiliary: Whether there is an auxiliary tower.
    """

    def __init__(
        self, genotype: Genotype, network: FinalNetwork, *, auxiliary: bool = True
    ) -> None:
        super().__init__()
        self.drop_path_prob: float | Tensor = 0.0
        """Probability with which an operation is dropped for an image while training, in [0, 1);
        skip connections of stride 1 are never dropped. A tensor without dimensions, for a network
        that is compiled: another number would compile it anew."""
        concat = {"normal": genotype.normal_concat, "reduce": genotype.reduce_concat}
        edges = {"normal": genotype.normal, "reduce": genotype.reduce}
        plans = plan_cells(network, {name: len(nodes) for name, nodes in concat.items()})
        self.stem = _ImageNetStem(network) if network.imagenet_stem else _Stem(network)
        self.cells = nn.ModuleList(
            FinalCell(edges[plan.cell_type], concat[plan.cell_type], plan) for plan in plans
        )
        widths = [plan.channels * len(concat[plan.cell_type]) for plan in plans]
        self._auxiliary_after = reduction_cells(network.num_cells)[-1]
        self.auxiliary: nn.Module | None = None
        if auxiliary:
            self.auxiliary = AuxiliaryTower(widths[self._auxiliary_after], network)
        self.classifier = nn.Linear(widths[-1], network.num_classes)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Classify images.

        Args:
            x: shape (batch, 3, height, width)

        Returns:
            Logits, shape (batch, classes); while training, with an auxiliary tower, also its
            logits.
        """
        s0, s1 = self.stem(x)
        auxiliary = None
        drop: float | Tensor = self.drop_path_prob if self.training else 0.0
        for position, cell in enumerate(self.cells):
            s0, s1 = s1, cell(s0, s1, drop)
            if self.auxiliary is not None and self.training and position == self._auxiliary_after:
                auxiliary = self.auxiliary(s1)
        logits: Tensor = self.classifier(s1.mean(dim=(2, 3)))
        return logits if auxiliary is None else (logits, auxiliary)


class FinalCell(nn.Module):
    """A cell: its two inputs projected, nodes of two operations each, concatenated."""

    def __init__(self, edges: tuple[Edge, ...], concat: tuple[int, ...], plan: CellPlan) -> None:
        super().__init__()
        self._sources = tuple(source for _, source in edges)
        self._concat = concat
        first, second = plan.in_channels
        shrink = _Halve if plan.halves_first else _project
        self.project = nn.ModuleList(
            [shrink(first, plan.channels), _project(second, plan.channels)]
        )
        self.ops = nn.ModuleList(
            final_op(op, plan.channels, plan.stride if source < NUM_INPUT_NODES else 1)
            for op, source in edges
        )

    def forward(self, s0: Tensor, s1: Tensor, drop_path_prob: float | Tensor) -> Tensor:
        """Apply to the outputs of the two cells before."""
        states = NodeStates(project(s) for project, s in zip(self.project, (s0, s1), strict=True))
        for first in range(0, len(self.ops), 2):
            brought = [self._edge(edge, states, drop_path_prob) for edge in (first, first + 1)]
            states.values.append(add(*brought))
        return torch.cat([states.values[node] for node in self._concat], dim=1)

    def _edge(self, edge: int, states: NodeStates, drop_path_prob: float | Tensor) -> Tensor:
        op = self.ops[edge]
        y = states.apply(op, self._sources[edge])
        is_off = isinstance(drop_path_prob, float) and drop_path_prob == 0.0
        if is_off or isinstance(op, Identity):
            return y
        return drop_path(y, drop_path_prob)


def drop_path(x: Tensor, prob: float | Tensor) -> Tensor:
    """Set whole images of a batch to zero, and divide the others by 1 − prob.

    Args:
        x: shape (batch, channels, height, width)
        prob: In [0, 1).
    """
    keep = torch.rand((len(x), 1, 1, 1), device=x.device) >= prob
    return x * (keep / (1 - prob)).to(x.dtype)


class AuxiliaryTower(nn.Module):
    """A second classifier, half way through the network: pool, 1x1 and 2x2 convolution, linear.

    Args:
        in_channels: Of the map it looks at, of 8 by 8 (CIFAR) or 7 by 7 pixels (ImageNet).
        network: The network it belongs to.
    """

    def __init__(self, in_channels: int, network: FinalNetwork) -> None:
        super().__init__()
        narrow, wide = AUXILIARY_CHANNELS
        self._stride = 2 if network.imagenet_stem else 3
        # DARTS's tower for ImageNet has no batch norm after its second convolution.
        last = nn.Identity() if network.imagenet_stem else nn.BatchNorm2d(wide)
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, narrow, 1, bias=False),
            nn.BatchNorm2d(narrow),
            nn.ReLU(),
            nn.Conv2d(narrow, wide, 2, bias=False),
            last,
            nn.ReLU(),
        )
        self.classifier = nn.Linear(wide, network.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, classes)."""
        x = F.relu(x)
        if min(x.shape[2:]) >= 5 + self._stride:
            x = F.avg_pool2d(x, 5, stride=self._stride)
        else:  # images smaller than the data set's: the convolution needs two by two pixels
            x = F.adaptive_avg_pool2d(x, 2)
        logits: Tensor = self.classifier(self.features(x).mean(dim=(2, 3)))
        return logits


class _Stem(nn.Module):
    """3x3 convolution to 3C channels; both inputs of the first cell."""

    def __init__(self, network: FinalNetwork) -> None:
        super().__init__()
        width = STEM_MULTIPLIER * network.init_channels
        self.conv = _conv_norm(3, width, 3, rectify=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x)
        return y, y


class _ImageNetStem(nn.Module):
    """3x3 convolutions of stride 2: two to the first cell's first input, one more to its second."""

    def __init__(self, network: FinalNetwork) -> None:
        super().__init__()
        channels = network.init_channels
        widths = (3, channels // 2, channels, channels)
        self.convs = nn.ModuleList(
            _conv_norm(before, after, 3, rectify=i > 0, stride=2)
            for i, (before, after) in enumerate(pairwise(widths))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        s0 = self.convs[1](self.convs[0](x))
        return s0, self.convs[2](s0)


class _Halve(nn.Module):
    """ReLU and ``FactorizedReduce``."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.reduce = FactorizedReduce(in_channels, out_channels, norm=nn.BatchNorm2d)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.reduce(F.relu(x))
        return y


def _project(in_channels: int, out_channels: int) -> nn.Module:
    return _conv_norm(in_channels, out_channels, 1, rectify=True)
