"""NAS-Bench-201's topology space: one of five operations on each of a cell's six edges.

Node 0 is the cell's input, node 3 its output; every node sums the outputs of its edges.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
import numpy.typing as npt

from nasi_ray.arrays import FloatArray
from nasi_ray.errors import InvalidGenotypeError
from nasi_ray.spaces.base import Cost, Decision, TabularSpace, sum_grid
from nasi_ray.spaces.cell_graph import Arc, CellGraph, Vertex

NB201_OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""Operations, spelled and ordered as in the benchmark."""

KERNEL_SIZES = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
"""Operations with parameters -> kernel size."""

NUM_NODES = 4
EDGES = tuple((source, node) for node in range(1, NUM_NODES) for source in range(node))
"""(source, node) of the six edges, in the order of the architecture string."""

_STRING = re.compile(
    r"\+".join(
        r"\|" + "".join(rf"(\w+)~{source}\|" for source in range(node))
        for node in range(1, NUM_NODES)
    )
)


@dataclass(frozen=True, slots=True)
class NB201Architecture:
    """One cell.

    Raises:
        InvalidGenotypeError: If there are not six operations, or one is unknown.
    """

    ops: tuple[str, ...]
    """Names of ``NB201_OPS``, in the order of ``EDGES``."""

    def __post_init__(self) -> None:
        if len(self.ops) != len(EDGES):
            raise InvalidGenotypeError(f"{len(self.ops)} operations given; {len(EDGES)} are needed")
        for op in self.ops:
            if op not in NB201_OPS:
                raise InvalidGenotypeError(
                    f"unknown operation {op!r}; choose one of {', '.join(NB201_OPS)}"
                )

    def to_string(self) -> str:
        """The benchmark's string: ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``."""
        nodes: list[str] = ["|"] * (NUM_NODES - 1)
        for (source, node), op in zip(EDGES, self.ops, strict=True):
            nodes[node - 1] += f"{op}~{source}|"
        return "+".join(nodes)

    @classmethod
    def from_string(cls, text: str) -> NB201Architecture:
        """Read ``to_string``'s text.

        Raises:
            InvalidGenotypeError: If it is not in that notation, or an operation is unknown.
        """
        match = _STRING.fullmatch(text)
        if match is None:
            raise InvalidGenotypeError(
                f"architecture {text!r} is not of the form |op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
            )
        return cls(match.groups())

    @property
    def key(self) -> str:
        """As ``to_string``."""
        return self.to_string()

    def fields(self) -> dict[str, Any]:
        """``architecture``: the benchmark's string."""
        return {"architecture": self.to_string()}

    def graph(self) -> CellGraph:
        """The cell for pictures; ``none`` is left out."""
        names = ("input", *map(str, range(1, NUM_NODES - 1)), "output")
        return CellGraph(
            [Vertex(name) for name in names],
            [
                Arc(*edge, label=op, decision=decision.name)
                for edge, op, decision in zip(EDGES, self.ops, _DECISIONS, strict=True)
                if op != "none"
            ],
        )

    def is_connected(self) -> bool:
        """Whether a path of operations other than ``none`` leads from the input to the output."""
        reached = {0}
        for (source, node), op in zip(EDGES, self.ops, strict=True):
            if source in reached and op != "none":
                reached.add(node)
        return NUM_NODES - 1 in reached

    def num_params(self, *, num_classes: int = 10) -> int:
        """Trainable parameters of the benchmark's own network of the cell."""
        fixed, of_ops = network_costs("params", num_classes=num_classes)
        return fixed + sum(of_ops[NB201_OPS.index(op)] for op in self.ops)


def network_costs(
    kind: Cost, *, num_classes: int = 10, image_size: int = 32
) -> tuple[int, list[int]]:
    """What the benchmark's own network of a cell costs, apart by operation.

    3×3 stem of 16 channels, three stages of five cells with 16, 32 and 64 channels, a residual
    block of stride 2 before the second and third, batch norm, one linear layer.

    Args:
        kind: Trainable parameters, or the multiply-adds of convolutions and linear layers for one
            image.
        num_classes: Classes.
        image_size: Height and width of the images in pixels.

    Returns:
        The cost of a cell without operations; that of each of ``NB201_OPS`` on one edge.
    """
    is_params = kind == "params"

    def conv(kernel: int, width_in: int, width_out: int, size: int, *, norm: bool = True) -> int:
        weights = kernel * kernel * width_in * width_out
        return weights + 2 * width_out * norm if is_params else weights * size**2

    widths, cells_per_stage = (16, 32, 64), 5
    sizes = [image_size >> stage for stage in range(len(widths))]
    fixed = conv(3, 3, widths[0], image_size) + widths[-1] * num_classes
    fixed += (2 * widths[-1] + num_classes) * is_params
    for (narrow, wide), size in zip(pairwise(widths), sizes[1:], strict=True):
        # The block's shortcut is an average pool and a 1×1 convolution without batch norm.
        fixed += conv(3, narrow, wide, size) + conv(3, wide, wide, size)
        fixed += conv(1, narrow, wide, size, norm=False)
    stages = list(zip(widths, sizes, strict=True))
    of_ops = [
        sum(cells_per_stage * conv(kernel, w, w, size) for w, size in stages) if kernel else 0
        for kernel in (KERNEL_SIZES.get(op) for op in NB201_OPS)
    ]
    return fixed, of_ops


class NB201Space(TabularSpace[NB201Architecture]):
    """6 decisions over 5 operations: 15,625 cells.

    The benchmark's own index is a shuffled order that only its tables have. Positions here are
    those of ``all_architectures``; in a table a cell's key is its string.
    """

    @property
    def name(self) -> str:
        """``nb201``."""
        return "nb201"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """``edge<source>-<node>/op`` of every edge, in the order of ``EDGES``."""
        return _DECISIONS

    @property
    def cell_types(self) -> Mapping[str, Sequence[int]]:
        """One type, ``cell``, that makes all decisions."""
        return {"cell": range(len(_DECISIONS))}

    def select(
        self, alpha: Mapping[str, FloatArray], *, pairing: str = "rank"
    ) -> NB201Architecture:
        """Take every edge's best operation.

        Args:
            alpha: Decision name -> logits.
            pairing: Has no effect: there is one operation per edge, so nothing to pair.
                Ties go to the candidate that comes first.
        """
        return NB201Architecture(
            tuple(NB201_OPS[int(np.argmax(alpha[d.name]))] for d in _DECISIONS)
        )

    @property
    def num_architectures(self) -> int:
        """15,625."""
        return int(len(NB201_OPS) ** len(EDGES))

    def all_architectures(self) -> npt.NDArray[np.uint8]:
        """Every cell as positions in ``NB201_OPS``, shape (15625, 6); last edge varies fastest."""
        digits = np.unravel_index(np.arange(self.num_architectures), [len(NB201_OPS)] * len(EDGES))
        return np.stack(digits, axis=1).astype(np.uint8)

    def __iter__(self) -> Iterator[NB201Architecture]:
        return map(NB201Architecture, product(NB201_OPS, repeat=len(EDGES)))

    def architecture(self, index: int) -> NB201Architecture:
        """The cell at a position of ``all_architectures``.

        Raises:
            IndexError: If the position is out of range.
        """
        if not 0 <= index < self.num_architectures:
            raise IndexError(
                f"nb201 has no architecture number {index}; allowed: 0 to "
                f"{self.num_architectures - 1}"
            )
        digits = np.unravel_index(index, [len(NB201_OPS)] * len(EDGES))
        return NB201Architecture(tuple(NB201_OPS[int(digit)] for digit in digits))

    def index(self, architecture: NB201Architecture) -> int:
        """Position of a cell in ``all_architectures``."""
        index = 0
        for op in architecture.ops:
            index = index * len(NB201_OPS) + NB201_OPS.index(op)
        return index

    def parse(self, text: str) -> NB201Architecture:
        """Read an architecture's string.

        Raises:
            InvalidGenotypeError: If it is not of this space.
        """
        return NB201Architecture.from_string(text)

    @property
    def table_file(self) -> str:
        """See ``TabularSpace``."""
        return "nasbench201.parquet"

    @property
    def epochs(self) -> int:
        """See ``TabularSpace``."""
        return 200

    def costs(self, kind: Cost) -> FloatArray:
        """See ``SearchSpace``."""
        fixed, of_ops = network_costs(kind)
        return sum_grid([np.array(of_ops, dtype=np.float64)] * len(EDGES)) + fixed

    @property
    def networks(self) -> str:
        """See ``SearchSpace``."""
        return "nasi_ray.networks.standalone_nb201:networks"

    @property
    def num_cells(self) -> int:
        """See ``SearchSpace``; as in the benchmark's networks."""
        return 15

    @property
    def max_num_cells(self) -> int:
        """Evaluation nests up to 27 frames per cell, and Python allows 1,000 frames."""
        return 30


_DECISIONS = tuple(Decision(f"edge{source}-{node}/op", NB201_OPS) for source, node in EDGES)

NB201 = NB201Space()
