from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasi_ray.errors import InvalidGenotypeError
from nasi_ray.spaces.graph import (
    CONV1X1,
    CONV3X3,
    INPUT,
    MAXPOOL3X3,
    NB101_OPS,
    OUTPUT,
    CellBatch,
    Matrix,
    hash_cell,
    hash_cells,
    hash_graph,
    num_params,
    prune,
    pruned_codes,
    vertex_channels,
)


def matrix_of(num_vertices: int, *edges: tuple[int, int]) -> Matrix:
    matrix = np.zeros((num_vertices, num_vertices), dtype=np.int8)
    for u, v in edges:
        matrix[u, v] = 1
    return matrix


# The example cell of NAS-Bench-101's documentation.
EXAMPLE = matrix_of(
    7, (0, 1), (0, 2), (0, 3), (0, 5), (1, 6), (2, 6), (3, 4), (4, 6), (5, 6)
)  # fmt: skip
EXAMPLE_OPS = (INPUT, CONV1X1, CONV3X3, CONV3X3, CONV3X3, MAXPOOL3X3, OUTPUT)


@st.composite
def cells(draw: st.DrawFn, num_vertices: int | None = None) -> tuple[Matrix, tuple[str, ...]]:
    size = draw(st.integers(2, 7)) if num_vertices is None else num_vertices
    pairs = [(u, v) for v in range(size) for u in range(v)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True))
    inner = draw(st.lists(st.sampled_from(NB101_OPS), min_size=size - 2, max_size=size - 2))
    return matrix_of(size, *edges), (INPUT, *inner, OUTPUT)


def batch_of(cells: list[tuple[Matrix, tuple[str, ...]]]) -> CellBatch:
    bits = 1 << np.arange(7)
    return CellBatch(
        np.array([bits[: len(m)] @ m for m, _ in cells], dtype=np.uint8),
        np.array([[NB101_OPS.index(op) for op in ops[1:-1]] for _, ops in cells], dtype=np.uint8),
    )


def vertices_on_paths(matrix: Matrix) -> list[int]:
    """Walk every path, the slow way."""
    last, found = len(matrix) - 1, set()
    paths = [[0]]
    while paths:
        path = paths.pop()
        if path[-1] == last:
            found.update(path)
        paths += [[*path, int(v)] for v in np.flatnonzero(matrix[path[-1]])]
    return sorted(found)


def test_hash_of_the_documented_example() -> None:
    assert hash_cell(EXAMPLE, EXAMPLE_OPS).startswith("28cfc787")


def test_parameters_of_the_documented_example() -> None:
    assert num_params(EXAMPLE, EXAMPLE_OPS) == 2_694_282


def test_hash_of_an_edge_follows_the_definition() -> None:
    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    source, target = md5("(1, 0, -1)"), md5("(0, 1, -2)")
    for _ in range(2):
        source, target = md5(f"|{target}|{source}"), md5(f"{source}||{target}")
    expected = md5(str(sorted([source, target])))
    assert hash_cell(matrix_of(2, (0, 1)), (INPUT, OUTPUT)) == expected


@given(cell=cells(), data=st.data())
def test_hash_does_not_depend_on_the_order_of_vertices(
    cell: tuple[Matrix, tuple[str, ...]], data: st.DataObject
) -> None:
    matrix, _ = cell
    size = len(matrix)
    labels = data.draw(st.lists(st.integers(-2, 2), min_size=size, max_size=size))
    order = data.draw(st.permutations(range(size)))
    shuffled = matrix[np.ix_(order, order)]
    assert hash_graph(shuffled, [labels[v] for v in order]) == hash_graph(matrix, labels)


@pytest.mark.parametrize(
    ("matrix", "ops"),
    [
        (matrix_of(3, (0, 1), (1, 2)), (INPUT, MAXPOOL3X3, OUTPUT)),
        (matrix_of(3, (0, 1), (1, 2), (0, 2)), (INPUT, CONV3X3, OUTPUT)),
        (matrix_of(4, (0, 1), (1, 2), (2, 3)), (INPUT, CONV3X3, CONV3X3, OUTPUT)),
    ],
)
def test_other_operations_edges_or_sizes_have_other_hashes(
    matrix: Matrix, ops: tuple[str, ...]
) -> None:
    reference = hash_cell(matrix_of(3, (0, 1), (1, 2)), (INPUT, CONV3X3, OUTPUT))
    assert hash_cell(matrix, ops) != reference


@given(cell=cells())
def test_pruning_keeps_exactly_the_vertices_on_paths(cell: tuple[Matrix, tuple[str, ...]]) -> None:
    matrix, ops = cell
    keep = vertices_on_paths(matrix)
    if not keep:
        with pytest.raises(InvalidGenotypeError, match="no path from its input"):
            prune(matrix, ops)
        return
    pruned, pruned_ops = prune(matrix, ops)
    assert pruned_ops == tuple(ops[v] for v in keep)
    assert np.array_equal(pruned, matrix[np.ix_(keep, keep)])


@given(given_cells=st.integers(2, 7).flatmap(lambda n: st.lists(cells(n), min_size=1)))
def test_batch_agrees_with_cells_one_by_one(
    given_cells: list[tuple[Matrix, tuple[str, ...]]],
) -> None:
    valid = [cell for cell in given_cells if vertices_on_paths(cell[0])]
    if len(valid) < len(given_cells):
        with pytest.raises(InvalidGenotypeError, match="no path from its input"):
            hash_cells(batch_of(given_cells))
    if valid:
        hashes = [row.tobytes().hex() for row in hash_cells(batch_of(valid))]
        assert hashes == [hash_cell(*cell) for cell in valid]


@given(pair=st.integers(2, 7).flatmap(lambda n: st.tuples(cells(n), cells(n))))
def test_codes_are_equal_exactly_for_equal_pruned_cells(
    pair: tuple[tuple[Matrix, tuple[str, ...]], tuple[Matrix, tuple[str, ...]]],
) -> None:
    if not all(vertices_on_paths(matrix) for matrix, _ in pair):
        return
    (first, first_ops), (second, second_ops) = (prune(*cell) for cell in pair)
    code, other = pruned_codes(batch_of(list(pair)))
    assert (code == other) == (first_ops == second_ops and np.array_equal(first, second))


def test_loose_ends_change_neither_hash_nor_parameters() -> None:
    plain = matrix_of(3, (0, 1), (1, 2)), (INPUT, CONV3X3, OUTPUT)
    loose = matrix_of(5, (0, 1), (1, 4), (1, 2), (3, 4)), (INPUT, CONV3X3, CONV1X1, CONV1X1, OUTPUT)
    assert hash_cell(*loose) == hash_cell(*plain)
    assert num_params(*loose) == num_params(*plain)


def test_invalid_cell_of_a_batch_is_named() -> None:
    good, bad = matrix_of(3, (0, 1), (1, 2)), matrix_of(3, (0, 1))
    ops = (INPUT, CONV3X3, OUTPUT)
    with pytest.raises(InvalidGenotypeError, match="cell 1 has no path"):
        hash_cells(batch_of([(good, ops), (bad, ops)]))


@pytest.mark.parametrize(
    ("matrix", "ops", "reason"),
    [
        (matrix_of(3), (INPUT, OUTPUT), r"shape \(2, 2\)"),
        (matrix_of(1), (INPUT,), "at least 2"),
        (matrix_of(3, (2, 0)), (INPUT, CONV3X3, OUTPUT), "upper triangular"),
        (2 * matrix_of(3, (0, 1)), (INPUT, CONV3X3, OUTPUT), "zeros and ones"),
        (
            matrix_of(3, (0, 1)),
            (CONV3X3, CONV3X3, OUTPUT),
            "they must run from 'input' to 'output'",
        ),
        (matrix_of(3, (0, 1)), (INPUT, "conv5x5", OUTPUT), "unknown operation 'conv5x5'"),
    ],
)
def test_what_is_no_cell_is_refused(matrix: Matrix, ops: tuple[str, ...], reason: str) -> None:
    with pytest.raises(InvalidGenotypeError, match=reason):
        prune(matrix, ops)


@pytest.mark.parametrize(
    ("parents", "ops", "reason"),
    [((2, 8), (2, 6), "2 to 7 vertices"), ((2, 4), (2, 3), "shapes"), ((1, 3), (1, 1), "has 3")],
)
def test_batch_of_wrong_arrays_is_refused(
    parents: tuple[int, int], ops: tuple[int, int], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        CellBatch(np.zeros(parents, dtype=np.uint8), np.full(ops, 3, dtype=np.uint8))


def test_remainder_of_the_output_channels_goes_to_the_first_vertices() -> None:
    matrix = matrix_of(5, (0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4))
    assert vertex_channels(64, 128, matrix) == (64, 43, 43, 42, 128)


def test_other_vertices_are_as_wide_as_their_widest_target() -> None:
    matrix = matrix_of(6, (0, 1), (1, 2), (1, 4), (2, 3), (3, 5), (4, 5))
    assert vertex_channels(16, 33, matrix) == (16, 17, 17, 17, 16, 33)


def test_an_edge_from_input_to_output_takes_no_share_of_the_channels() -> None:
    assert vertex_channels(8, 10, matrix_of(3, (0, 1), (0, 2), (1, 2))) == (8, 10, 10)
    assert vertex_channels(8, 10, matrix_of(2, (0, 1))) == (8, 10)


def test_parameters_of_the_smallest_network_by_hand() -> None:
    stem, head = 3 * 3 * 3 * 2 + 4, 4 * 10 + 10
    projections = (2 * 2 + 4) + (2 * 4 + 8)
    total = num_params(
        matrix_of(2, (0, 1)), (INPUT, OUTPUT), stem_channels=2, num_stacks=2, cells_per_stack=1
    )
    assert total == stem + projections + head
