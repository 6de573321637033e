"""A cell as a diagram of lanes: one row an operation, one vertical line a source it may take.

The places are the same for every cell of a space, so two cells can be compared, and the page can
draw another one without laying it out anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.pages.blocks import Figure, Spec
from nasi_ray.pages.specs import BLUE, GREEN, GREY, ORANGE, PINK, PURPLE, chart
from nasi_ray.spaces.base import SearchSpace
from nasi_ray.spaces.darts import CELL_TYPES, NUM_NODES, input_names
from nasi_ray.spaces.nb1shot1 import node_names
from nasi_ray.statistics import DECIDED_AT

Slot = dict[str, Any]
"""A row of the diagram: ``cell``, ``target``; ``op``: [decision, rank] or None; ``sources``:
[decision, ranks], or names where there is no choice."""

KINDS = {"sep_conv": BLUE, "dil_conv": GREEN, "conv": PURPLE, "pool": PINK, "none": GREY}
"""Part of an operation's name -> its colour; orange is what is open."""
_PITCH = 30


def slots_of(space: SearchSpace, pairing: str) -> list[Slot]:
    """The rows of every cell of a space; none for a space that is not ours.

    Args:
        space: The space.
        pairing: How DARTS combines inputs and operations.
    """
    positions = {decision.name: i for i, decision in enumerate(space.decisions)}
    if space.name == "darts":
        return [
            _slot(cell, f"node{node}", [positions[f"{cell}/node{node}/op"], rank],
                  [positions[f"{cell}/node{node}/input"], [k]])
            for cell in CELL_TYPES
            for node in range(NUM_NODES)
            for k in range(2)
            for rank in [0 if pairing == "shared-op" else k]
        ]  # fmt: skip
    if space.name == "nb201":
        return [
            _slot("cell", f"node{name[6]}", [i, 0], [f"node{name[4]}"])
            for name, i in positions.items()
        ]
    if space.name in ("s1", "s2", "s3"):
        targets = [name.removesuffix("/op") for name in positions if name.endswith("/op")]
        return [
            _slot("cell", target, [positions[f"{target}/op"], 0] if target != "output" else None,
                  _parents(space, positions.get(f"{target}/parents")))
            for target in [*targets, "output"]
        ]  # fmt: skip
    return []


def lanes_of(space: SearchSpace) -> dict[str, list[str]]:
    """Cell type -> the sources that have a lane, from left to right."""
    if space.name == "darts":
        return {cell_type: list(input_names(NUM_NODES - 1)) for cell_type in CELL_TYPES}
    if space.name == "nb201":
        return {"cell": ["node0", "node1", "node2"]}
    num = sum(d.name.endswith("/op") for d in space.decisions)
    return {"cell": list(node_names(num + 1))}


def _slot(cell: str, target: str, op: list[int] | None, sources: list[Any]) -> Slot:
    return {"cell": cell, "target": target, "op": op, "sources": sources}


def _parents(space: SearchSpace, position: int | None) -> list[Any]:
    if position is None:
        return ["input"]
    return [position, list(range(space.decisions[position].num_chosen))]


def orders_of(space: SearchSpace, alpha: FloatArray) -> list[list[int]]:
    """Candidates of every decision, best first; of equal ones the first in the space."""
    return [np.argsort(-alpha[where], kind="stable").tolist() for where in space.slices]


def rows_of(
    slots: Sequence[Slot],
    space: SearchSpace,
    orders: Sequence[Sequence[int]],
    share: Callable[[str], float | None],
) -> list[dict[str, Any]]:
    """The diagram of one cell: a row an operation, with how sure each choice is.

    Args:
        slots: Of the space.
        space: The space.
        orders: Of ``orders_of``.
        share: Name of a decision -> share of draws in which it stands; None: not known.
    """
    rows = []
    for slot in slots:
        (first, *rest), sources = slot["sources"], slot["sources"]
        op, op_share = "", None
        source_share: float | None = 1.0
        if slot["op"] is not None:
            decision = space.decisions[slot["op"][0]]
            op = decision.candidates[orders[slot["op"][0]][slot["op"][1]]]
            op_share = share(decision.name)
        if rest:
            decision = space.decisions[first]
            chosen = sorted(orders[first][k] for k in rest[0])
            sources = [decision.candidates[i] for i in chosen]
            source_share = share(decision.name)
        rows.append({**slot, "op": op, "sources": sources, "opShare": op_share,
                     "sourceShare": source_share})  # fmt: skip
    return rows


def figures_of(space: SearchSpace, rows: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """A figure for each cell type."""
    return [
        Figure(
            name=cell if cell == "cell" else f"{cell}-cell",
            title={"normal": "Normal cell", "reduce": "Reduction cell"}.get(cell, "Cell"),
            spec=_spec(lanes, [row for row in rows if row["cell"] == cell]),
            headings=("node", "operation", "stands", "takes", "stands"),
            rows=[
                (row["target"], row["op"] or "-", percent(row["opShare"]),
                 ", ".join(row["sources"]), percent(row["sourceShare"]))
                for row in rows if row["cell"] == cell
            ],
            live="cell",
            max_width=460,
        )
        for cell, lanes in lanes_of(space).items()
    ]  # fmt: skip


def percent(share: float | None) -> str:
    """``62 %``, cut and not rounded; ``?`` where it is not known."""
    return "?" if share is None else f"{int(100 * share + 1e-9)} %"


def drawn(lanes: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Points and texts of the diagram; ``page.js`` has the same for a cell that is explored.

    A ``tap`` is where a row takes a source, a ``share`` how sure that is (if it is open), an ``op``
    is the operation, a ``target`` the node.
    """
    shapes: list[dict[str, Any]] = []
    end = len(lanes) - 0.3
    for y, row in enumerate(rows):
        is_open = [s is not None and s < DECIDED_AT for s in (row["sourceShare"], row["opShare"])]
        for source in row["sources"]:
            shapes.append({"part": "tap", "x": lanes.index(source), "x2": end, "y": y,
                           "open": is_open[0], "tip": f"{row['target']} takes {source}: stands "
                           f"{percent(row['sourceShare'])}"})  # fmt: skip
        if is_open[0]:
            # Above the line; of the last lane's, which is too short, to the left of it.
            x = min(max(map(lanes.index, row["sources"])), len(lanes) - 1.9)
            shapes.append({"part": "share", "x": x, "y": y, "text": percent(row["sourceShare"])})
        kind = next((c for part, c in KINDS.items() if part in row["op"]), GREY)
        shown = f" {percent(row['opShare'])}" if row["opShare"] is not None else ""
        name = row["op"].removesuffix("-bn-relu") or "output"
        shapes.append({"part": "op", "x": end, "y": y, "text": name + shown,
                       "color": kind, "open": is_open[1],
                       "tip": f"{row['target']}: {row['op'] or 'output'}{shown}"})  # fmt: skip
        if y + 1 == len(rows) or rows[y + 1]["target"] != row["target"]:
            first = next(i for i, other in enumerate(rows) if other["target"] == row["target"])
            shapes.append({"part": "target", "y": (first + y) / 2, "text": row["target"]})
    return shapes


def _short(lane: str) -> str:
    """``c_{k-2}`` -> ``k-2``, ``node0`` -> ``0``: what fits above a lane."""
    text = lane.removeprefix("c_").strip("{}").removeprefix("node").removeprefix("block")
    return "in" if text == "input" else text


def _spec(lanes: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Spec:
    span = len(lanes) + 6.2
    x = _place("x", {"domain": [-0.6, span]})
    y = _place("y", {"domain": [-1.7, len(rows) - 0.4], "reverse": True})
    starts = [
        next((i for i, row in enumerate(rows) if row["target"] == lane), -1) for lane in lanes
    ]
    columns = [{"x": i, "text": _short(lane),
                "y": start + 0.5 if start >= 0 else -0.7, "end": len(rows) - 0.6}
               for i, (lane, start) in enumerate(zip(lanes, starts, strict=True))]  # fmt: skip
    layers = [*_lane_marks(columns, x, y), *_choice_marks(x, y), _node_marks(x, y, span)]
    return chart(drawn(lanes, rows), _PITCH * (len(rows) + 1), *layers)


def _place(field: str, scale: Mapping[str, Any]) -> Spec:
    """A channel without an axis, whose scale ends where it is told to."""
    return {"field": field, "type": "quantitative", "axis": None,
            "scale": {"nice": False, "zero": False, **scale}}  # fmt: skip


def _lane_marks(columns: Sequence[Mapping[str, Any]], x: Spec, y: Spec) -> list[Spec]:
    """The vertical lines, and the name of each above it."""
    heads = [{**column, "y": -1.2} for column in columns]
    return [
        {
            "data": {"values": list(columns)},
            "mark": {"type": "rule", "strokeWidth": 5, "opacity": 0.25, "color": GREY},
            "encoding": {"x": x, "y": y, "y2": {"field": "end"}},
        },
        {
            "data": {"values": heads},
            "mark": {"type": "text", "fontWeight": "bold"},
            "encoding": {"x": x, "y": y, "text": {"field": "text"}},
        },
    ]


def _choice_marks(x: Spec, y: Spec) -> list[Spec]:
    """What each row takes, and its operation; what is open has a colour, and is dashed."""
    tip = {"field": "tip", "type": "nominal", "title": None}
    dashed = {"condition": {"test": "datum.open", "value": [3, 3]}, "value": [1, 0]}
    open_colour = {"condition": {"test": "datum.open", "value": ORANGE}, "value": "currentColor"}
    place = {"x": x, "y": y, "tooltip": tip}
    of_op = {"field": "color", "type": "nominal", "scale": None}
    return [
        {
            "transform": _only("tap"),
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {**place, "x2": {"field": "x2"}, "strokeDash": dashed,
                         "color": open_colour},
        },
        {
            "transform": _only("tap"),
            "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
            "encoding": {**place, "color": open_colour},
        },
        {
            "transform": _only("share"),
            "mark": {"type": "text", "align": "left", "dx": 7, "dy": -8, "fontSize": 10,
                     "color": ORANGE},
            "encoding": {"x": x, "y": y, "text": {"field": "text"}},
        },
        {
            "transform": _only("op"),
            "mark": {"type": "square", "size": 150, "opacity": 1},
            "encoding": {**place, "color": of_op},
        },
        {
            "transform": _only("op"),
            "mark": {"type": "text", "align": "left", "dx": 11, "fontSize": 12},
            "encoding": {**place, "text": {"field": "text"}, "color": open_colour},
        },
    ]  # fmt: skip


def _node_marks(x: Spec, y: Spec, end: float) -> Spec:
    """The nodes' names at the right end."""
    right = {"datum": end, **{k: v for k, v in x.items() if k != "field"}}
    return {
        "transform": _only("target"),
        "mark": {"type": "text", "align": "right", "fontWeight": "bold"},
        "encoding": {"x": right, "y": y, "text": {"field": "text"}},
    }


def _only(part: str) -> list[dict[str, str]]:
    return [{"filter": f"datum.part === '{part}'"}]
