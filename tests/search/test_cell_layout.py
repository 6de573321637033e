"""Geometry: wires keep clear of boxes and of one another."""

from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from nasi_ray.search.cell_layout import Box, CellLayout, layout_cell, node_depths
from nasi_ray.spaces.genotype import DARTS_OPS, Edge

Segment = tuple[float, float, float, float]


@st.composite
def cells(draw: st.DrawFn, max_nodes: int = 5) -> tuple[list[Edge], list[int]]:
    num_nodes = draw(st.integers(1, max_nodes))
    edges = [
        (draw(st.sampled_from(DARTS_OPS)), draw(st.integers(0, 1 + i // 2)))
        for i in range(2 * num_nodes)
    ]
    nodes = st.integers(2, 1 + num_nodes)
    return edges, draw(st.lists(nodes, min_size=1, unique=True))


def _boxes(layout: CellLayout) -> list[Box]:
    return [*layout.inputs, *layout.ops, *layout.nodes, layout.output]


def _overlap(a: Box, b: Box, *, space: float = 0.0) -> bool:
    return (
        abs(a.x - b.x) < (a.width + b.width) / 2 + space - 1e-9
        and abs(a.y - b.y) < (a.height + b.height) / 2 + space - 1e-9
    )


def _segments(points: tuple[tuple[float, float], ...]) -> list[Segment]:
    return [
        (min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1]))
        for a, b in pairwise(points)
    ]


@given(cells(), st.sampled_from([0.10, 0.38]))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_boxes_keep_their_distance_and_lie_inside(
    cell: tuple[list[Edge], list[int]], op_gap: float
) -> None:
    layout = layout_cell(*cell, op_gap=op_gap)
    for a, b in combinations(_boxes(layout), 2):
        assert not _overlap(a, b, space=0.07)
    for box in _boxes(layout):
        assert box.left >= -1e-9
        assert box.right <= layout.width + 1e-9
        assert box.y - box.height / 2 >= -1e-9
        assert box.y + box.height / 2 <= layout.height + 1e-9


@given(cells())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_no_wire_runs_through_a_box(cell: tuple[list[Edge], list[int]]) -> None:
    layout = layout_cell(*cell, op_gap=0.1)
    for wire in (*layout.op_wires, *layout.concat_wires):
        for left, top, right, bottom in _segments(wire.points):
            line = Box((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
            assert not any(_overlap(line, box) for box in _boxes(layout))


@given(cells())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_wires_of_different_sources_never_share_a_line(
    cell: tuple[list[Edge], list[int]],
) -> None:
    layout = layout_cell(*cell, op_gap=0.1)
    for one, other in combinations(layout.op_wires, 2):
        if one.source == other.source:
            continue
        for a in _segments(one.points):
            for b in _segments(other.points):
                for axis in (0, 1):
                    parallel = a[axis] == a[axis + 2] and b[axis] == b[axis + 2]
                    along = 1 - axis
                    shared = min(a[along + 2], b[along + 2]) - max(a[along], b[along])
                    assert not (parallel and abs(a[axis] - b[axis]) < 0.1 and shared > 1e-9)


@given(cells())
@settings(max_examples=50, deadline=None, derandomize=True)
def test_each_wire_joins_its_source_to_its_operation(
    cell: tuple[list[Edge], list[int]],
) -> None:
    edges, concat = cell
    layout = layout_cell(edges, concat, op_gap=0.1)
    sources = [*layout.inputs, *layout.nodes]
    for (_, number), wire, op in zip(edges, layout.op_wires, layout.ops, strict=True):
        assert wire.points[0] == (sources[number].right, sources[number].y)
        assert wire.points[-1] == (op.left, op.y)
    assert [wire.source for wire in layout.concat_wires] == sorted(concat)


def test_depth_is_the_longest_path_from_a_cell_input() -> None:
    inputs = [0, 1, 2, 0, 0, 1, 3, 4]
    assert node_depths([("skip_connect", i) for i in inputs]) == [1, 2, 1, 3]


def test_the_previous_cell_but_one_is_above_the_previous_cell() -> None:
    inputs = [0, 1, 0, 1]
    layout = layout_cell([("skip_connect", i) for i in inputs], [2, 3], op_gap=0.1)
    assert layout.inputs[0].y < layout.inputs[1].y
