"""Where the parts of a drawn cell go: geometry only, no drawing.

Every (operation, input) pair has a row of its own, every depth a column, and wires are horizontal
in rows and vertical in the gaps between columns. So a wire never runs through a box or a label,
and two wires meet only at right angles. Lengths are inches; x grows to the right, y downwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations, product

from nasi_ray.spaces.genotype import NUM_INPUT_NODES, Edge

Point = tuple[float, float]

INPUT_WIDTH = 0.62
OP_WIDTH = 1.16
NODE_WIDTH = 0.30
BOX_HEIGHT = 0.30
ARROW = 0.30
TRACK_PITCH = 0.16
LEAD = 0.20
NODE_GAP = 0.20


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle by its centre and size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        """Where its left side is."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """Where its right side is."""
        return self.x + self.width / 2


@dataclass(frozen=True, slots=True)
class Wire:
    """A line with right-angled bends from a source to what it feeds."""

    source: int
    """Number of the source as in a genotype: cell inputs 0 and 1, intermediate node i as i + 2."""
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CellLayout:
    """All parts of one cell; the upper left corner of its bounding box is (0, 0)."""

    width: float
    height: float
    inputs: tuple[Box, ...]
    """c_{k-2} and c_{k-1}."""
    ops: tuple[Box, ...]
    """One per pair, in the genotype's order."""
    nodes: tuple[Box, ...]
    """One per intermediate node, as tall as its two operations."""
    output: Box
    """c_k."""
    op_wires: tuple[Wire, ...]
    """From each pair's source to its operation, in the genotype's order."""
    concat_wires: tuple[Wire, ...]
    """From each concatenated node to c_k."""


@dataclass(frozen=True, slots=True)
class _Bus:
    """What leaves one source: it goes along row ``start`` to a vertical track, then to ``taps``."""

    source: int
    start: float
    taps: tuple[float, ...]

    @property
    def span(self) -> tuple[float, float]:
        rows = (self.start, *self.taps)
        return min(rows), max(rows)


def layout_cell(edges: Sequence[Edge], concat: Iterable[int], *, op_gap: float) -> CellLayout:
    """Place a cell's boxes and wires.

    Args:
        edges: (operation, input) pairs, two per node, valid as in a ``Genotype``.
        concat: Numbers of the nodes that c_k concatenates.
        op_gap: Space between a node's two operations, in inches (room for a label).
    """
    num_nodes = len(edges) // 2
    depths = node_depths(edges)
    op_pitch = BOX_HEIGHT + op_gap
    node_pitch = op_pitch + BOX_HEIGHT + NODE_GAP
    first = BOX_HEIGHT / 2
    rows = [first + i // 2 * node_pitch + i % 2 * op_pitch for i in range(len(edges))]
    centres = [first + i * node_pitch + op_pitch / 2 for i in range(num_nodes)]
    taps: list[tuple[float, ...]] = [
        tuple(row for row, (_, source) in zip(rows, edges, strict=True) if source == number)
        for number in range(NUM_INPUT_NODES + num_nodes)
    ]
    input_rows, order = _place_inputs(taps[0], taps[1], rows, centres)
    buses = [_Bus(i, row, taps[i]) for i, row in enumerate((*input_rows, *centres))]
    tracks, op_lefts, end = _place_columns(buses, order, depths)
    ops, nodes = _place_ops_and_nodes(rows, centres, [op_lefts[depth] for depth in depths])
    inputs = tuple(Box(INPUT_WIDTH / 2, y, INPUT_WIDTH, BOX_HEIGHT) for y in input_rows)
    boxes = (*inputs, *nodes)
    output, concat_wires = _place_output(boxes, sorted(set(concat)), end)
    return CellLayout(
        width=output.right,
        height=max(box.y + box.height / 2 for box in boxes),
        inputs=inputs,
        ops=ops,
        nodes=nodes,
        output=output,
        op_wires=tuple(
            _wire(source, boxes[source], tracks[source], op)
            for (_, source), op in zip(edges, ops, strict=True)
        ),
        concat_wires=concat_wires,
    )


def _place_ops_and_nodes(
    rows: Sequence[float], centres: Sequence[float], lefts: Sequence[float]
) -> tuple[tuple[Box, ...], tuple[Box, ...]]:
    ops = tuple(
        Box(lefts[i // 2] + OP_WIDTH / 2, row, OP_WIDTH, BOX_HEIGHT) for i, row in enumerate(rows)
    )
    height = rows[1] - rows[0] + BOX_HEIGHT
    nodes = tuple(
        Box(left + OP_WIDTH + ARROW + NODE_WIDTH / 2, y, NODE_WIDTH, height)
        for left, y in zip(lefts, centres, strict=True)
    )
    return ops, nodes


def node_depths(edges: Sequence[Edge]) -> list[int]:
    """Column of each intermediate node: operations on its longest path from a cell input."""
    depths = [0] * NUM_INPUT_NODES
    for first, second in zip(edges[::2], edges[1::2], strict=True):
        depths.append(1 + max(depths[first[1]], depths[second[1]]))
    return depths[NUM_INPUT_NODES:]


def _place_inputs(
    taps_0: tuple[float, ...],
    taps_1: tuple[float, ...],
    rows: list[float],
    centres: list[float],
) -> tuple[tuple[float, float], tuple[int, ...]]:
    # A row of the other input's pair is no candidate: two wires would seem to be one.
    middle = (rows[0] + rows[-1]) / 2
    best: tuple[float, tuple[float, float], tuple[int, ...]] | None = None
    for start_0, start_1 in product((*taps_0, *centres), (*taps_1, *centres)):
        if abs(start_0 - start_1) < BOX_HEIGHT + 0.08:
            continue
        buses = [_Bus(0, start_0, taps_0), _Bus(1, start_1, taps_1)]
        length = sum(bus.span[1] - bus.span[0] for bus in buses)
        off_centre = abs((start_0 + start_1) / 2 - middle)
        crossings, order = _order_tracks(buses)
        cost = 10 * crossings + length + 0.5 * off_centre + 20 * (start_0 > start_1)
        if best is None or cost < best[0] - 1e-9:
            best = cost, (start_0, start_1), order
    if best is None:
        # One node and every input row taken: below each other, outside the rows if need be.
        return (rows[0], rows[-1] + BOX_HEIGHT), (0, 1)
    return best[1], best[2]


def _order_tracks(buses: Sequence[_Bus]) -> tuple[int, tuple[int, ...]]:
    """The order of tracks from left to right with the fewest crossings, and their number."""
    used = [bus for bus in buses if bus.taps]
    # A DARTS cell has at most 4; beyond 6 trying every order would take seconds.
    orders = permutations(used) if len(used) <= 6 else iter([tuple(used)])
    return min((_num_crossings(order), tuple(bus.source for bus in order)) for order in orders)


def _num_crossings(order: Sequence[_Bus]) -> int:
    total = 0
    for position, bus in enumerate(order):
        low, high = bus.span
        from_left = [tap for other in order[:position] for tap in other.taps]
        to_right = [other.start for other in order[position + 1 :]]
        total += sum(low < row < high for row in from_left + to_right)
    return total


def _place_columns(
    buses: Sequence[_Bus], input_order: tuple[int, ...], depths: Sequence[int]
) -> tuple[dict[int, float], dict[int, float], float]:
    """Tracks: source -> x; left sides of operations: depth -> x; right side of the last nodes."""
    tracks: dict[int, float] = {}
    op_lefts: dict[int, float] = {}
    x = INPUT_WIDTH
    for depth in range(1, max(depths) + 1):
        order = input_order
        if depth > 1:
            sources = [i + NUM_INPUT_NODES for i, d in enumerate(depths) if d == depth - 1]
            order = _order_tracks([buses[source] for source in sources])[1]
        for position, source in enumerate(order):
            tracks[source] = x + LEAD + position * TRACK_PITCH
        op_lefts[depth] = x + LEAD + (len(order) - 1) * TRACK_PITCH + ARROW + 0.05
        x = op_lefts[depth] + OP_WIDTH + ARROW + NODE_WIDTH
    return tracks, op_lefts, x


def _place_output(
    boxes: Sequence[Box], concat: Sequence[int], end: float
) -> tuple[Box, tuple[Wire, ...]]:
    track = end + LEAD
    rows = [boxes[number].y for number in concat]
    output = Box(
        track + ARROW + 0.05 + INPUT_WIDTH / 2, (rows[0] + rows[-1]) / 2, INPUT_WIDTH, BOX_HEIGHT
    )
    return output, tuple(_wire(number, boxes[number], track, output) for number in concat)


def _wire(source: int, start: Box, track: float, end: Box) -> Wire:
    first, last = (start.right, start.y), (end.left, end.y)
    if abs(start.y - end.y) < 1e-9:
        return Wire(source, (first, last))
    return Wire(source, (first, (track, start.y), (track, end.y), last))
