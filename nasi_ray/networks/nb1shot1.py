"""The one-shot networks of NAS-Bench-1Shot1's spaces, as in the benchmark's own one-shot code.

It differs from that code in that pooling between the stacks does not pad (as in NAS-Bench-101, so
that 32 pixels become 16 and not 17), and in that the last batch norm also has affine parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

from torch import Tensor, nn
from torch.nn import functional as F

from nasi_ray.networks.batch_norm import BatchNorm
from nasi_ray.networks.mixture import Candidate, Mixer
from nasi_ray.networks.ops import max_pool_3x3
from nasi_ray.networks.stages import reductions
from nasi_ray.spaces.graph import CONV1X1, CONV3X3, MAXPOOL3X3, NB101_OPS, OUTPUT
from nasi_ray.spaces.nb1shot1 import NB1Shot1Architecture, NB1Shot1Space, node_names


class ConvNormRelu(nn.Module):
    """Convolution (stride 1), batch norm, ReLU.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd, so that the map keeps its size.
        norm: Channels -> batch norm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        norm: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False
        )
        self.norm = norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        return F.relu(self.norm(self.conv(x)))


class MaxPool(nn.Module):
    """3x3 max pooling at stride 1, without batch norm."""

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        return max_pool_3x3(x)


def make_op(name: str, channels: int, *, norm: Callable[[int], nn.Module]) -> nn.Module:
    """Build an operation of ``NB101_OPS``.

    Args:
        name: Its name.
        channels: Channels of input and output.
        norm: Channels -> batch norm.
    """
    if name == MAXPOOL3X3:
        return MaxPool()
    return ConvNormRelu(channels, channels, {CONV3X3: 3, CONV1X1: 1}[name], norm=norm)


_conv_norm_relu = partial(ConvNormRelu, norm=BatchNorm)


class ChoiceBlock(nn.Module):
    """Sums the parents it takes, the cell's input through its own projection; one operation of 3.

    Args:
        in_channels: Channels of the cell's input.
        channels: Channels of the block.
        parents: Position of the decision about its parents; None takes the input.
        op: Position of the decision about its operation.
    """

    def __init__(self, in_channels: int, channels: int, *, parents: int | None, op: int) -> None:
        super().__init__()
        self._parents, self._op = parents, op
        self.project = _conv_norm_relu(in_channels, channels, 1)
        self.ops = nn.ModuleList(make_op(name, channels, norm=BatchNorm) for name in NB101_OPS)

    def forward(self, x: Tensor, blocks: Sequence[Candidate], mixer: Mixer, cell: int) -> Tensor:
        """Apply to the cell's input and the blocks before."""
        if self._parents is None:
            joined = self.project(x)
        else:
            joined = mixer.mix(cell, self._parents, [partial(self.project, x), *blocks])
        return mixer.mix(cell, self._op, [partial(op, joined) for op in self.ops])


class MixedCell(nn.Module):
    """Choice blocks, concatenated to the output.

    Output: (h_1 block_1, …, h_N block_N) + h_0 · projection(input).

    A block is evaluated when its output is needed. A block without a path to the output therefore
    costs nothing, and its parameters are off the sampled path.
    """

    def __init__(self, space: NB1Shot1Space, in_channels: int, channels: int) -> None:
        super().__init__()
        positions = {decision.name: i for i, decision in enumerate(space.decisions)}
        self._output = positions[f"{OUTPUT}/parents"]
        self.blocks = nn.ModuleList(
            ChoiceBlock(
                in_channels,
                channels,
                parents=positions.get(f"{name}/parents"),
                op=positions[f"{name}/op"],
            )
            for name in node_names(space.num_blocks + 1)[1:]
        )
        self.project = _conv_norm_relu(in_channels, channels * space.num_blocks, 1)

    def forward(self, x: Tensor, mixer: Mixer, cell: int) -> Tensor:
        """Apply to the output of the cell before."""
        blocks: list[Candidate] = []
        for block in self.blocks:
            blocks.append(cache(partial(block, x, tuple(blocks), mixer, cell)))
        placed = [partial(_place, block, i, len(blocks)) for i, block in enumerate(blocks)]
        return mixer.mix(cell, self._output, [partial(self.project, x), *placed])


class NB1Shot1Supernet(nn.Module):
    """Stem, cells with max pooling where channels double, ReLU-conv-bn, global average, linear."""

    def __init__(
        self, space: NB1Shot1Space, *, init_channels: int, num_cells: int, num_classes: int
    ) -> None:
        super().__init__()
        self._reductions = reductions(num_cells)
        self.stem = _conv_norm_relu(3, init_channels, 3)
        in_channels, channels, cells = init_channels, init_channels, []
        for i in range(num_cells):
            channels *= 2 if i in self._reductions else 1
            cells.append(MixedCell(space, in_channels, channels))
            in_channels = space.num_blocks * channels
        self.cells = nn.ModuleList(cells)
        self.conv = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.norm = BatchNorm(channels)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor, mixer: Mixer) -> Tensor:
        """Logits, shape (batch, classes), of images of shape (batch, 3, height, width)."""
        x = self.stem(x)
        for i, cell in enumerate(self.cells):
            if i in self._reductions:
                x = F.max_pool2d(x, 2)
            x = cell(x, mixer, i)
        x = self.norm(self.conv(F.relu(x)))
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


def chosen(
    space: NB1Shot1Space, architecture: NB1Shot1Architecture
) -> Callable[[int, int], tuple[int, ...]]:
    """The path of an architecture: (cell, decision) -> candidates.

    Raises:
        InvalidGenotypeError: If the architecture is not of the space.
    """
    space.check(architecture)
    names = (*node_names(space.num_blocks + 1)[1:], OUTPUT)
    taken = {f"{name}/parents": p for name, p in zip(names, architecture.parents, strict=True)}
    for name, op in zip(names, architecture.ops, strict=False):
        taken[f"{name}/op"] = (NB101_OPS.index(op),)
    path = [taken[decision.name] for decision in space.decisions]
    return lambda cell, decision: path[decision]


def _place(block: Candidate, position: int, num_blocks: int) -> Tensor:
    """A block's channels, with zeros for those of the other blocks."""
    x = block()
    width = x.shape[1]
    after = (num_blocks - 1 - position) * width
    return F.pad(x, (0, 0, 0, 0, position * width, after))
