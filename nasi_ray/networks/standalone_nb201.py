"""NAS-Bench-201's own network of one cell."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from nasi_ray.networks import stages
from nasi_ray.networks.by_space import SpaceNetworks
from nasi_ray.networks.mixture import add
from nasi_ray.networks.nb201 import (
    ConvNorm,
    NB201Supernet,
    ResidualReduction,
    chosen,
)
from nasi_ray.networks.ops import avg_pool_3x3
from nasi_ray.spaces.nb201 import EDGES, KERNEL_SIZES, NUM_NODES, NB201Architecture, NB201Space

NUM_STAGES = 3


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """The benchmark's batch norm: torch's defaults, ε = 1e-5 and momentum 0.1."""
    return nn.BatchNorm2d(channels)


Pool = Callable[[Tensor], Tensor]


class NB201Cell(nn.Module):
    """Four nodes; each but the first sums the outputs of its edges.

    As in the benchmark, a convolution exists and counts even if no path leads through it.
    """

    def __init__(self, architecture: NB201Architecture, channels: int, *, pool: Pool) -> None:
        super().__init__()
        self._pool = pool
        self._ops = architecture.ops
        self.convs = nn.ModuleDict(
            {
                str(edge): ConvNorm(channels, channels, KERNEL_SIZES[op], norm=batch_norm)
                for edge, op in enumerate(architecture.ops)
                if op in KERNEL_SIZES
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply to the output of the cell before."""
        zeros = x.new_zeros(()).expand_as(x)
        nodes = [x]
        for node in range(1, NUM_NODES):
            brought = [
                self._edge(edge, nodes[source])
                for edge, (source, target) in enumerate(EDGES)
                if target == node and self._ops[edge] != "none"
            ]
            nodes.append(add(*(brought or [zeros])))
        return nodes[-1]

    def _edge(self, edge: int, x: Tensor) -> Tensor:
        if str(edge) in self.convs:
            y: Tensor = self.convs[str(edge)](F.relu(x))
            return y
        return self._pool(x) if self._ops[edge] == "avg_pool_3x3" else x


class NB201Network(nn.Module):
    """3x3 stem, three stages of equal cells, bn-ReLU, global average, linear; called as ``net(x)``.

    Between stages a residual block of stride 2 doubles the channels. Batch norm is torch's own:
    these networks are also for training, which needs running statistics.

    Args:
        architecture: The cell.
        num_channels: Channels C of the first stage; 16 in the benchmark.
        cells_per_stage: Cells of each stage; 5 in the benchmark.
        num_classes: Classes.
        pool: 3x3 average pooling of stride 1 in which padding does not count.
    """

    def __init__(
        self,
        architecture: NB201Architecture,
        *,
        num_channels: int = 16,
        cells_per_stage: int = 5,
        num_classes: int = 10,
        pool: Pool,
    ) -> None:
        super().__init__()
        self.stem = ConvNorm(3, num_channels, 3, norm=batch_norm)
        body: list[nn.Module] = []
        for stage in range(NUM_STAGES):
            if stage:
                body.append(ResidualReduction(num_channels << stage - 1, norm=batch_norm))
            width = num_channels << stage
            body.extend(NB201Cell(architecture, width, pool=pool) for _ in range(cells_per_stage))
        self.body = nn.Sequential(*body)
        self.norm = batch_norm(width)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, classes), of images of shape (batch, 3, height, width)."""
        x = F.relu(self.norm(self.body(self.stem(x))))
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


def torch_avg_pool(x: Tensor) -> Tensor:
    """As ``ops.avg_pool_3x3``, by torch's own pooling."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def networks(space: NB201Space) -> SpaceNetworks:
    """The networks of NAS-Bench-201."""
    return SpaceNetworks(
        supernet=NB201Supernet,
        cell_types=stages.cell_types,
        chosen=chosen,
        standalone=partial(NB201Network, pool=avg_pool_3x3),
        trainable=partial(NB201Network, pool=torch_avg_pool),
    )
