"""NAS-Bench-1Shot1: NAS-Bench-101 cells with a fixed number of parents per choice block.

``S1``, ``S2`` and ``S3`` are three constants of one class. Node 0 is the cell's input, node i is
choice block i, and the last node is the output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations, product
from math import comb, prod
from typing import Any

import numpy as np

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.errors import InvalidGenotypeError
from nasi_ray.spaces.base import Cost, Decision, TabularSpace, along
from nasi_ray.spaces.cell_graph import Arc, CellGraph, Vertex
from nasi_ray.spaces.graph import (
    CONV1X1,
    INPUT,
    MAX_VERTICES,
    NB101_OPS,
    OUTPUT,
    Bytes,
    CellBatch,
    Matrix,
    check_ops,
    hash_cell,
    hash_cells,
    kept_vertices,
    network_costs,
    num_params,
)

OP_LETTERS = dict(zip("31m", NB101_OPS, strict=True))
"""Letters that stand for operations in the tables."""
_LETTER_OF = {op: letter for letter, op in OP_LETTERS.items()}


def node_names(num_nodes: int) -> tuple[str, ...]:
    """Names of the first nodes: ``input``, ``block1``, ``block2``, ..."""
    return (INPUT, *(f"block{i}" for i in range(1, num_nodes)))


@dataclass(frozen=True, slots=True)
class NB1Shot1Architecture:
    """One configuration, loose ends included.

    Raises:
        InvalidGenotypeError: If a node has no parents, a parent that does not come before it or
            parents out of order, or an operation is unknown.
    """

    parents: tuple[tuple[int, ...], ...]
    """Of block 1, 2, ..., output: the nodes each takes as inputs, ascending."""
    ops: tuple[str, ...]
    """Of block 1, 2, ...: names of ``NB101_OPS``."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.ops) <= MAX_VERTICES - 2 or len(self.parents) != len(self.ops) + 1:
            raise InvalidGenotypeError(
                f"{len(self.ops)} operations with {len(self.parents)} parent sets; a cell needs "
                f"1 to {MAX_VERTICES - 2} operations and one more parent set (the output's)"
            )
        for node, sources in enumerate(self.parents, start=1):
            if not sources or list(sources) != sorted(set(sources) & set(range(node))):
                raise InvalidGenotypeError(
                    f"node {node} has parents {','.join(map(str, sources)) or 'none'}; it needs "
                    f"an ascending list of nodes 0 to {node - 1}"
                )
        check_ops(self.ops)

    @property
    def num_parents(self) -> tuple[int, ...]:
        """Number of parents of block 1, 2, ..., output."""
        return tuple(map(len, self.parents))

    @property
    def parents_string(self) -> str:
        """The table's ``parents`` column: ``0;0,1;0,1;0,1;0,1``."""
        return ";".join(",".join(map(str, sources)) for sources in self.parents)

    @property
    def ops_string(self) -> str:
        """The table's ``ops`` column: ``3,1,m,3``."""
        return ",".join(_LETTER_OF[op] for op in self.ops)

    def to_string(self) -> str:
        """Both columns in one: ``0;0,1;0,1;0,1;0,1|3,1,m,3``; ``from_string`` reads it back."""
        return f"{self.parents_string}|{self.ops_string}"

    @classmethod
    def from_columns(cls, parents: str, ops: str) -> NB1Shot1Architecture:
        """Read the table's two columns.

        Raises:
            InvalidGenotypeError: If they are not in its notation, or not a cell.
        """
        try:
            sources = tuple(tuple(map(int, node.split(","))) for node in parents.split(";"))
            names = tuple(OP_LETTERS[letter] for letter in ops.split(","))
        except (KeyError, ValueError):
            sources, names = (), ()
        # int() accepts more spellings of a number than the tables use.
        if not names or ";".join(",".join(map(str, node)) for node in sources) != parents:
            raise InvalidGenotypeError(
                f"parents {parents!r} with ops {ops!r} is not in the table's notation; "
                "an example is '0;0,1;0,1;0,1;0,1' with '3,1,m,3'"
            )
        return cls(sources, names)

    @classmethod
    def from_string(cls, text: str) -> NB1Shot1Architecture:
        """Read ``to_string``'s text.

        Raises:
            InvalidGenotypeError: If it is not in that notation, or not a cell.
        """
        parents, _, ops = text.partition("|")
        return cls.from_columns(parents, ops)

    def matrix(self) -> Matrix:
        """Adjacency matrix of the NAS-Bench-101 cell of 7 vertices.

        Cells with fewer blocks are widened by unconnected vertices before the output, as in the
        benchmark's code; pruning removes them.
        """
        return _matrix(self.parents)

    def vertex_ops(self) -> tuple[str, ...]:
        """Operations of the 7 vertices of ``matrix``; unconnected ones are 1×1 convolutions."""
        filler = (CONV1X1,) * (MAX_VERTICES - 2 - len(self.ops))
        return (INPUT, *self.ops, *filler, OUTPUT)

    def hash(self) -> str:
        """The NAS-Bench-101 hash of the pruned cell, 32 hexadecimal characters."""
        return hash_cell(self.matrix(), self.vertex_ops())

    def graph(self) -> CellGraph:
        """The cell for pictures, loose ends included."""
        names = node_names(len(self.ops) + 1)[1:]
        blocks = [Vertex(op, f"{name}/op") for op, name in zip(self.ops, names, strict=True)]
        arcs = [
            Arc(source, target, decision=f"{name}/parents")
            for target, (name, sources) in enumerate(
                zip((*names, OUTPUT), self.parents, strict=True), start=1
            )
            for source in sources
        ]
        return CellGraph([Vertex(INPUT), *blocks, Vertex(OUTPUT)], arcs)

    @property
    def key(self) -> str:
        """As ``hash``."""
        return self.hash()

    def fields(self) -> dict[str, Any]:
        """``architecture`` in the table's notation, and ``hash``."""
        return {"architecture": self.to_string(), "hash": self.hash()}

    def num_params(self) -> int:
        """Trainable parameters of the benchmark's own network of the cell (128 channels)."""
        return num_params(self.matrix(), self.vertex_ops())


def _matrix(parents: Sequence[Sequence[int]]) -> Matrix:
    matrix = np.zeros((MAX_VERTICES, MAX_VERTICES), dtype=np.int8)
    for node, sources in enumerate(parents, start=1):
        matrix[list(sources), node if node < len(parents) else -1] = 1
    return matrix


class NB1Shot1Space(TabularSpace[NB1Shot1Architecture]):
    """One of the three spaces.

    Block 1 has no decision about its parents: its only candidate is the input, so the logit would
    have no gradient. A node that takes all its candidates (block 2 in S1) keeps its decision,
    as in the benchmark's one-shot code: the surrogate k·softmax has a gradient there, although
    every α selects the same.
    """

    def __init__(self, name: str, num_parents: tuple[int, ...]) -> None:
        self._name = name
        self.num_parents = num_parents
        """Parents of block 1, 2, ..., output."""
        self.num_blocks = len(num_parents) - 1
        self._decisions = tuple(self._make_decisions())

    def __repr__(self) -> str:
        return f"NB1Shot1Space({self._name!r}, {self.num_parents})"

    def _make_decisions(self) -> Iterator[Decision]:
        for node, num_chosen in enumerate(self.num_parents, start=1):
            name = OUTPUT if node > self.num_blocks else f"block{node}"
            if node <= self.num_blocks:
                yield Decision(f"{name}/op", NB101_OPS)
            if node > 1:
                yield Decision(f"{name}/parents", node_names(node), num_chosen)

    @property
    def name(self) -> str:
        """``s1``, ``s2`` or ``s3``."""
        return self._name

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Per block ``block<i>/op`` and (from block 2) ``block<i>/parents``; ``output/parents``."""
        return self._decisions

    @property
    def cell_types(self) -> Mapping[str, Sequence[int]]:
        """One type, ``cell``, that makes all decisions."""
        return {"cell": range(len(self._decisions))}

    def select(
        self, alpha: Mapping[str, FloatArray], *, pairing: str = "rank"
    ) -> NB1Shot1Architecture:
        """Take each block's best operation and each node's k best parents.

        Args:
            alpha: Decision name -> logits.
            pairing: Has no effect: operations sit on nodes, so there is nothing to pair.
                Ties go to the candidate that comes first.
        """
        chosen = {
            d.name: sorted(np.argsort(-alpha[d.name], kind="stable")[: d.num_chosen].tolist())
            for d in self._decisions
        }
        names = (*node_names(self.num_blocks + 1)[1:], OUTPUT)
        return NB1Shot1Architecture(
            parents=tuple(tuple(chosen.get(f"{name}/parents", (0,))) for name in names),
            ops=tuple(NB101_OPS[chosen[f"{name}/op"][0]] for name in names[:-1]),
        )

    @property
    def num_architectures(self) -> int:
        """Number of configurations, loose ends and isomorphic ones counted apart."""
        choices = prod(comb(node, k) for node, k in enumerate(self.num_parents, start=1))
        return choices * int(len(NB101_OPS) ** self.num_blocks)

    def all_architectures(self) -> CellBatch:
        """Every configuration in the order of the tables: parents vary slowest, node 1 first."""
        index = np.arange(self.num_architectures, dtype=np.int64)
        parents, ops = self._digits(index)
        masks = [
            np.array([sum(1 << u for u in chosen) for chosen in sets], dtype=np.uint8)
            for sets in self._parent_sets
        ]
        columns = [np.zeros(len(index), dtype=np.uint8)]
        columns += [table[digit] for table, digit in zip(masks, parents, strict=True)]
        return CellBatch(np.stack(columns, axis=1), np.stack(ops, axis=1).astype(np.uint8))

    def __iter__(self) -> Iterator[NB1Shot1Architecture]:
        for parents in product(*self._parent_sets):
            for ops in product(NB101_OPS, repeat=self.num_blocks):
                yield NB1Shot1Architecture(parents, ops)

    def hashes(self) -> Bytes:
        """Hashes of every configuration, shape (num_architectures, 16), in the same order.

        Read-only: they are computed once a process.
        """
        return _hashes(self)

    def keys(self) -> Bytes:
        """As ``hashes``: loose ends pruned, up to isomorphism."""
        return self.hashes()

    @property
    def key_column(self) -> str:
        """``hash``."""
        return "hash"

    @property
    def table_file(self) -> str:
        """See ``TabularSpace``."""
        return f"nasbench1shot1_{self._name}.parquet"

    @property
    def epochs(self) -> int:
        """See ``TabularSpace``."""
        return 108

    @property
    def num_channels(self) -> int:
        """See ``TabularSpace``."""
        return 128

    @property
    def min_channels(self) -> int:
        """One for each vertex that the output concatenates."""
        return self.num_parents[-1]

    def costs(self, kind: Cost) -> FloatArray:
        """See ``SearchSpace``; loose ends cost nothing."""
        sets = [
            s for s, node in zip(self._parent_sets, range(self.num_blocks + 1), strict=True) if node
        ]
        fixed = np.empty([len(s) for s in sets])
        of_ops = np.zeros((self.num_blocks, len(NB101_OPS), *fixed.shape))
        known: dict[bytes, tuple[int, list[list[int]]]] = {}  # most cells prune to few graphs
        for at in np.ndindex(fixed.shape):
            parents = ((0,), *(s[i] for s, i in zip(sets, at, strict=True)))
            matrix = _matrix(parents)
            kept = kept_vertices(matrix)
            pruned = matrix[np.ix_(kept, kept)]
            if (key := pruned.tobytes()) not in known:
                known[key] = network_costs(pruned, kind)
            fixed[at], per_vertex = known[key]
            for vertex, table in zip(kept[1:-1], per_vertex, strict=True):
                of_ops[(vertex - 1, slice(None), *at)] = table
        is_op = [decision.name.endswith("/op") for decision in self._decisions]
        op_axes, parent_axes = (np.flatnonzero(np.equal(is_op, k)).tolist() for k in (True, False))
        total = np.zeros([1] * len(is_op)) + along(fixed, len(is_op), *parent_axes)
        for axis, table in zip(op_axes, of_ops, strict=True):
            total = total + along(table, len(is_op), axis, *parent_axes)
        return total

    @property
    def networks(self) -> str:
        """See ``SearchSpace``."""
        return "nasi_ray.networks.standalone_nb101:networks"

    @property
    def num_cells(self) -> int:
        """See ``SearchSpace``; as in the benchmark's one-shot code."""
        return 9

    def architecture(self, index: int) -> NB1Shot1Architecture:
        """The configuration at a position of ``all_architectures``.

        Raises:
            IndexError: If the position is out of range.
        """
        if not 0 <= index < self.num_architectures:
            raise IndexError(
                f"{self._name} has no architecture number {index}; allowed: 0 to "
                f"{self.num_architectures - 1}"
            )
        parents, ops = self._digits(np.array([index], dtype=np.int64))
        return NB1Shot1Architecture(
            tuple(sets[int(d[0])] for sets, d in zip(self._parent_sets, parents, strict=True)),
            tuple(NB101_OPS[int(digit[0])] for digit in ops),
        )

    def index(self, architecture: NB1Shot1Architecture) -> int:
        """Position of a configuration in ``all_architectures``.

        Raises:
            InvalidGenotypeError: If it is not of this space.
        """
        self.check(architecture)
        index = 0
        for sets, chosen in zip(self._parent_sets, architecture.parents, strict=True):
            index = index * len(sets) + sets.index(chosen)
        for op in architecture.ops:
            index = index * len(NB101_OPS) + NB101_OPS.index(op)
        return index

    def parse(self, text: str) -> NB1Shot1Architecture:
        """Read an architecture's string.

        Raises:
            InvalidGenotypeError: If it is not of this space.
        """
        architecture = NB1Shot1Architecture.from_string(text)
        self.check(architecture)
        return architecture

    def check(self, architecture: NB1Shot1Architecture) -> None:
        """Raise ``InvalidGenotypeError`` unless an architecture is of this space."""
        if architecture.num_parents != self.num_parents:
            raise InvalidGenotypeError(
                f"{architecture.to_string()} has {architecture.num_parents} parents per node; "
                f"{self._name} needs {self.num_parents}"
            )

    @cached_property
    def _parent_sets(self) -> list[list[tuple[int, ...]]]:
        return [list(combinations(range(v), k)) for v, k in enumerate(self.num_parents, start=1)]

    def _digits(self, index: IntArray) -> tuple[list[IntArray], list[IntArray]]:
        sizes = [len(sets) for sets in self._parent_sets] + [len(NB101_OPS)] * self.num_blocks
        digits = list(np.unravel_index(index, sizes))
        return digits[: self.num_blocks + 1], digits[self.num_blocks + 1 :]


@cache
def _hashes(space: NB1Shot1Space) -> Bytes:
    hashes = hash_cells(space.all_architectures())
    hashes.flags.writeable = False
    return hashes


S1 = NB1Shot1Space("s1", (1, 2, 2, 2, 2))
S2 = NB1Shot1Space("s2", (1, 1, 2, 2, 3))
S3 = NB1Shot1Space("s3", (1, 1, 1, 2, 2, 2))
