"""NAS-Bench-101 cells as graphs: pruning, the graph hash, channels and parameters. NumPy only.

A cell is an upper-triangular adjacency matrix and one operation per vertex; the first vertex is
the input, the last the output. Definitions: Ying et al., 2019, and its published code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from nasi_ray.arrays import IntArray
from nasi_ray.errors import InvalidGenotypeError
from nasi_ray.spaces.base import Cost

MAX_VERTICES = 7
INPUT, OUTPUT = "input", "output"
CONV3X3, CONV1X1, MAXPOOL3X3 = "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"
NB101_OPS = (CONV3X3, CONV1X1, MAXPOOL3X3)
"""Operations in the order that numbers them in the hash."""

Matrix = npt.NDArray[np.int8]
Bytes = npt.NDArray[np.uint8]

_INPUT_LABEL, _OUTPUT_LABEL = -1, -2
_LABEL_BITS = 2


@dataclass(frozen=True, slots=True, eq=False)
class CellBatch:
    """Many cells with the same number of vertices, as arrays."""

    parents: Bytes
    """shape (cells, vertices); bit u of column v: there is an edge u -> v"""
    ops: Bytes
    """shape (cells, vertices - 2); positions in ``NB101_OPS`` of the vertices between the ends"""

    def __post_init__(self) -> None:
        cells, vertices = self.parents.shape
        if not 2 <= vertices <= MAX_VERTICES or self.ops.shape != (cells, vertices - 2):
            raise ValueError(
                f"parents {self.parents.shape} and ops {self.ops.shape} must have shapes "
                f"(cells, vertices) and (cells, vertices - 2), with 2 to {MAX_VERTICES} vertices"
            )
        if self.ops.size and int(self.ops.max()) >= len(NB101_OPS):
            raise ValueError(f"ops has {self.ops.max()}; allowed: 0 to {len(NB101_OPS) - 1}")

    def __len__(self) -> int:
        return len(self.parents)


def check_cell(matrix: Matrix, ops: Sequence[str]) -> None:
    """Check that a matrix and its operations form a cell.

    Args:
        matrix: shape (vertices, vertices); 1 at [u, v] is an edge u -> v.
        ops: One name per vertex: ``input``, names of ``NB101_OPS``, ``output``.

    Raises:
        InvalidGenotypeError: If they do not.
    """
    size = len(ops)
    if size < 2 or matrix.shape != (size, size):
        raise InvalidGenotypeError(
            f"a cell of {size} operations has a matrix of shape {matrix.shape}; "
            f"it needs at least 2 operations and shape ({size}, {size})"
        )
    if not np.isin(matrix, (0, 1)).all() or np.tril(matrix).any():
        raise InvalidGenotypeError("a cell's matrix must be upper triangular, of zeros and ones")
    if ops[0] != INPUT or ops[-1] != OUTPUT:
        raise InvalidGenotypeError(
            f"a cell's operations run from {ops[0]!r} to {ops[-1]!r}; "
            f"they must run from {INPUT!r} to {OUTPUT!r}"
        )
    check_ops(ops[1:-1])


def check_ops(ops: Sequence[str]) -> None:
    """Check that all names are of ``NB101_OPS``.

    Raises:
        InvalidGenotypeError: If one is not; names it.
    """
    for op in ops:
        if op not in NB101_OPS:
            raise InvalidGenotypeError(
                f"unknown operation {op!r}; choose one of {', '.join(NB101_OPS)}"
            )


def prune(matrix: Matrix, ops: Sequence[str]) -> tuple[Matrix, tuple[str, ...]]:
    """Remove loose ends: vertices that are on no path from the input to the output.

    Returns:
        Matrix and operations of the vertices that remain, in the same order.

    Raises:
        InvalidGenotypeError: If it is not a cell, or has no path from input to output.
    """
    check_cell(matrix, ops)
    keep = kept_vertices(matrix)
    return matrix[np.ix_(keep, keep)], tuple(ops[v] for v in keep)


def kept_vertices(matrix: Matrix) -> list[int]:
    """The vertices on a path from the input to the output.

    Raises:
        InvalidGenotypeError: If there is no such path.
    """
    size = len(matrix)
    from_input = [True] + [False] * (size - 1)
    to_output = [False] * (size - 1) + [True]
    for v in range(1, size):
        from_input[v] = any(matrix[u, v] and from_input[u] for u in range(v))
    for u in reversed(range(size - 1)):
        to_output[u] = any(matrix[u, v] and to_output[v] for v in range(u + 1, size))
    if not to_output[0]:
        raise InvalidGenotypeError("the cell has no path from its input to its output")
    return [v for v in range(size) if from_input[v] and to_output[v]]


def hash_graph(matrix: Matrix, labels: Sequence[int]) -> str:
    """Hash a labelled directed graph: isomorphic graphs have equal hashes. Prunes nothing.

    Args:
        matrix: shape (vertices, vertices)
        labels: One integer per vertex; NAS-Bench-101 uses -1 for the input, -2 for the output.

    Returns:
        MD5 as 32 hexadecimal characters.
    """
    return _hash([np.flatnonzero(column).tolist() for column in matrix.T], labels)


def hash_cell(matrix: Matrix, ops: Sequence[str]) -> str:
    """Prune a cell and hash it: the NAS-Bench-101 hash.

    Raises:
        InvalidGenotypeError: If it is not a cell, or has no path from input to output.
    """
    matrix, ops = prune(matrix, ops)
    inner = [NB101_OPS.index(op) for op in ops[1:-1]]
    return hash_graph(matrix, [_INPUT_LABEL, *inner, _OUTPUT_LABEL])


def hash_cells(batch: CellBatch) -> Bytes:
    """Prune and hash many cells; each distinct pruned cell is hashed once.

    Returns:
        shape (cells, 16); row i is the 16-byte hash of cell i.

    Raises:
        InvalidGenotypeError: If a cell has no path from input to output; names the first.
    """
    codes, inverse = np.unique(pruned_codes(batch), return_inverse=True)
    digests = b"".join(
        bytes.fromhex(_hash(sources, [_INPUT_LABEL, *_labels(code, len(sources)), _OUTPUT_LABEL]))
        for graph, group in groupby(codes.tolist(), _graph_of)
        for sources in [_sources(graph)]
        for code in group
    )
    return np.frombuffer(digests, dtype=np.uint8).reshape(len(codes), 16)[inverse]


def pruned_codes(batch: CellBatch) -> IntArray:
    """Number every cell; two numbers are equal exactly if the pruned cells are equal.

    Returns:
        shape (cells,); from the high bits: vertices, the parents of each, the operations.

    Raises:
        InvalidGenotypeError: If a cell has no path from input to output; names the first.
    """
    keep = _keep_masks(batch.parents)
    if not keep.all():
        first = int(np.argmin(keep != 0))
        raise InvalidGenotypeError(f"cell {first} has no path from its input to its output")
    codes = np.zeros(len(batch), dtype=np.int64)
    for mask in np.unique(keep).tolist():
        rows = np.flatnonzero(keep == mask)
        kept = [v for v in range(batch.parents.shape[1]) if mask >> v & 1]
        codes[rows] = _encode(batch.parents[rows], batch.ops[rows], kept)
    return codes


def _keep_masks(parents: Bytes) -> Bytes:
    """Bit v: vertex v is on a path from input to output; 0 if there is no path."""
    last = parents.shape[1] - 1
    reached = np.ones(len(parents), dtype=np.uint8)
    for v in range(1, last + 1):
        reached |= ((parents[:, v] & reached) != 0).astype(np.uint8) << np.uint8(v)
    needed = np.full(len(parents), 1 << last, dtype=np.uint8)
    for v in range(last, 0, -1):
        needed |= np.where(needed >> np.uint8(v) & 1, parents[:, v], np.uint8(0))
    return np.where(needed & 1 & reached, reached & needed, np.uint8(0)).astype(np.uint8)


def _encode(parents: Bytes, ops: Bytes, kept: list[int]) -> IntArray:
    code = np.full(len(parents), len(kept), dtype=np.int64)
    for v in kept[1:]:
        compact = np.zeros(len(parents), dtype=np.int64)
        for position, u in enumerate(kept):
            compact |= (parents[:, v].astype(np.int64) >> u & 1) << position
        code = code << MAX_VERTICES | compact
    code <<= MAX_VERTICES * (MAX_VERTICES - len(kept))
    for v in kept[1:-1]:
        code = code << _LABEL_BITS | ops[:, v - 1]
    return code << _LABEL_BITS * (MAX_VERTICES - len(kept))


def _graph_of(code: int) -> int:
    return code >> _LABEL_BITS * (MAX_VERTICES - 2)


def _sources(graph: int) -> list[list[int]]:
    num_vertices = graph >> MAX_VERTICES * (MAX_VERTICES - 1)
    masks = [
        graph >> MAX_VERTICES * (MAX_VERTICES - 1 - v) & (1 << MAX_VERTICES) - 1
        for v in range(1, num_vertices)
    ]
    return [[], *([u for u in range(num_vertices) if mask >> u & 1] for mask in masks)]


def _labels(code: int, num_vertices: int) -> list[int]:
    shifts = (_LABEL_BITS * (MAX_VERTICES - 2 - i) for i in range(1, num_vertices - 1))
    return [code >> shift & (1 << _LABEL_BITS) - 1 for shift in shifts]


def _hash(sources: list[list[int]], labels: Sequence[int]) -> str:
    vertices = range(len(labels))
    targets = [[v for v in vertices if u in sources[v]] for u in vertices]
    hashes = [_md5(str((len(targets[v]), len(sources[v]), labels[v]))) for v in vertices]
    for _ in vertices:
        hashes = [
            _md5(
                "".join(sorted([hashes[u] for u in sources[v]]))
                + "|"
                + "".join(sorted([hashes[w] for w in targets[v]]))
                + "|"
                + hashes[v]
            )
            for v in vertices
        ]
    return _md5(str(sorted(hashes)))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def vertex_channels(in_channels: int, out_channels: int, matrix: Matrix) -> tuple[int, ...]:
    """Channels of every vertex of a pruned cell with these channels at its ends.

    The output's channels are split evenly over the vertices it concatenates, the first ones taking
    one more each if there is a remainder; every other vertex has as many as its widest target.
    """
    last = len(matrix) - 1
    channels = [in_channels] + [0] * (last - 1) + [out_channels]
    joined = [v for v in range(1, last) if matrix[v, last]]
    for position, v in enumerate(joined):
        share, remainder = divmod(out_channels, len(joined))
        channels[v] = share + (position < remainder)
    for v in reversed(range(1, last)):
        if not matrix[v, last]:
            channels[v] = max(channels[w] for w in range(v + 1, last) if matrix[v, w])
    return tuple(channels)


def num_params(
    matrix: Matrix,
    ops: Sequence[str],
    *,
    stem_channels: int = 128,
    num_stacks: int = 3,
    cells_per_stack: int = 3,
    num_classes: int = 10,
) -> int:
    """Trainable parameters of the NAS-Bench-101 network of a cell (pruned first).

    A 3×3 stem, stacks of equal cells with channels doubled from stack to stack, one linear layer.

    Raises:
        InvalidGenotypeError: If it is not a cell, or has no path from input to output.
    """
    matrix, ops = prune(matrix, ops)
    settings = {
        "stem_channels": stem_channels,
        "num_stacks": num_stacks,
        "cells_per_stack": cells_per_stack,
        "num_classes": num_classes,
    }
    fixed, of_ops = network_costs(matrix, "params", **settings)
    return fixed + sum(of_ops[v][NB101_OPS.index(op)] for v, op in enumerate(ops[1:-1]))


def network_costs(
    matrix: Matrix,
    kind: Cost,
    *,
    stem_channels: int = 128,
    num_stacks: int = 3,
    cells_per_stack: int = 3,
    num_classes: int = 10,
    image_size: int = 32,
) -> tuple[int, list[list[int]]]:
    """What the NAS-Bench-101 network of a pruned graph costs, apart by operation.

    Args:
        matrix: Adjacency matrix without loose ends, shape (vertices, vertices).
        kind: Trainable parameters, or the multiply-adds of convolutions and linear layers for one
            image.
        stem_channels: As for ``num_params``.
        num_stacks: As for ``num_params``.
        cells_per_stack: As for ``num_params``.
        num_classes: As for ``num_params``.
        image_size: Height and width of the images in pixels.

    Returns:
        The cost without operations; per vertex between the ends, that of each of ``NB101_OPS``
        there.
    """
    is_params = kind == "params"

    def conv(kernel: int, width_in: int, width_out: int, size: int) -> int:
        return (
            _conv(kernel, width_in, width_out)
            if is_params
            else kernel**2 * width_in * width_out * size**2
        )

    last = len(matrix) - 1
    of_ops = [[0] * len(NB101_OPS) for _ in range(1, last)]
    width, size = stem_channels, image_size
    fixed = conv(3, 3, width, size)
    for stack in range(num_stacks):
        out, size = stem_channels << stack, image_size >> stack
        for _ in range(cells_per_stack):
            channels = vertex_channels(width, out, matrix)
            # The cell's input reaches every vertex, also the output, through a 1×1 projection.
            fixed += sum(
                conv(1, width, channels[v], size) for v in range(1, last + 1) if matrix[0, v]
            )
            for v in range(1, last):
                of_ops[v - 1][0] += conv(3, channels[v], channels[v], size)
                of_ops[v - 1][1] += conv(1, channels[v], channels[v], size)
            width = out
    return fixed + (width + is_params) * num_classes, of_ops


def _conv(kernel: int, in_channels: int, out_channels: int) -> int:
    return kernel * kernel * in_channels * out_channels + 2 * out_channels
