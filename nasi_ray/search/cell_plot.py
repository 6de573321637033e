"""A drawing of a final cell. No pyplot, no global matplotlib state; same cell, same bytes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path
from matplotlib.text import Text

from nasi_ray.display.figures import BLUE, DPI, GREEN, GREY, INK, ORANGE, YELLOW, render
from nasi_ray.search.cell_layout import Box, CellLayout, Point, Wire, layout_cell
from nasi_ray.search.graph_plot import save_graph_plot
from nasi_ray.spaces import Architecture
from nasi_ray.spaces.genotype import Edge, Genotype
from nasi_ray.statistics import DECIDED_AT

KINDS = {
    "pooling": (YELLOW, "#FCEFD3"),
    "skip connection": (GREY, "#EFEFEF"),
    "separable convolution": (BLUE, "#D6E8F4"),
    "dilated convolution": (GREEN, "#D3EFE6"),
    "convolution": (ORANGE, "#F9DFCF"),
    "none": ("#B4B4B4", "white"),
}
"""Kind of operation -> outline and fill (Okabe and Ito's palette and tints of it)."""

USUAL_KINDS = tuple(KINDS)[:4]
"""Those of the operations that a search chooses from; the legend always has them."""

OP_KINDS = {
    "none": "none",
    "max_pool_3x3": "pooling",
    "avg_pool_3x3": "pooling",
    "skip_connect": "skip connection",
    "sep_conv_3x3": "separable convolution",
    "sep_conv_5x5": "separable convolution",
    "sep_conv_7x7": "separable convolution",
    "dil_conv_3x3": "dilated convolution",
    "dil_conv_5x5": "dilated convolution",
    "conv_7x1_1x7": "convolution",
}

_WIRE, _CONCAT_WIRE = "#4A4A4A", "#B4B4B4"
_MARGIN, _MIN_WIDTH = 0.30, 6.4
_HEADING, _LEGEND, _CELL_GAP = 0.36, 0.50, 0.38
_LEGEND_PITCH = 0.22
_TITLE_LINE = 0.24
_CORNER = 0.09


def plot_genotype(
    genotype: Genotype,
    *,
    margins: Mapping[str, float] | None = None,
    probabilities: Mapping[str, float | None] | None = None,
    title: str = "",
) -> Figure:
    """Draw the normal and the reduction cell, one above the other, from left to right.

    Args:
        genotype: The cell.
        margins: Decision name (``normal/node0/op``) -> margin between first and second choice;
            what is given is written between the node's two operations.
        probabilities: Decision name -> share of bootstrap draws in which the cell keeps the same;
            what is open (``DECIDED_AT``) is dashed.
        title: Written on top, wrapped to the width.

    Returns:
        A figure with an Agg canvas; its size depends on how deep the cells are.
    """
    cells = (
        ("normal", "Normal cell", genotype.normal, genotype.normal_concat),
        ("reduce", "Reduction cell", genotype.reduce, genotype.reduce_concat),
    )
    op_gap = 0.38 if margins else 0.10
    layouts = [layout_cell(edges, concat, op_gap=op_gap) for _, _, edges, concat in cells]
    width = max(_MIN_WIDTH, *(layout.width + 2 * _MARGIN for layout in layouts))
    lines = textwrap.wrap(title, width=int((width - 2 * _MARGIN) * 7))
    top = _MARGIN + len(lines) * _TITLE_LINE + (0.12 if lines else 0)
    legend = _legend_rows(genotype)
    height = top + sum(_HEADING + c.height + _CELL_GAP for c in layouts) - _CELL_GAP + _LEGEND
    height += (len(legend) - 1) * _LEGEND_PITCH
    figure = Figure(figsize=(width, height + 0.08), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = _inch_axes(figure)
    for i, line in enumerate(lines):
        y = _MARGIN + (i + 0.4) * _TITLE_LINE
        _text(axes, (_MARGIN, y), line, size=12, weight="bold", align="left", math=False)
    y = top
    for (cell_type, heading, edges, _), layout in zip(cells, layouts, strict=True):
        _text(axes, (_MARGIN, y + 0.06), heading, size=10.5, weight="bold", align="left")
        y += _HEADING
        is_open = _open_decisions(cell_type, len(layout.nodes), probabilities or {})
        _draw_cell(axes, layout, edges, (_MARGIN, y), is_open)
        _draw_margins(axes, layout, cell_type, margins or {}, (_MARGIN, y))
        y += layout.height + _CELL_GAP
    for i, kinds in enumerate(reversed(legend)):
        _draw_legend(axes, kinds, (_MARGIN, height - 0.12 - i * _LEGEND_PITCH))
    return figure


def save_genotype_plot(
    genotype: Genotype,
    *,
    margins: Mapping[str, float] | None = None,
    probabilities: Mapping[str, float | None] | None = None,
    title: str = "",
) -> dict[str, bytes]:
    """Render ``plot_genotype``; the same arguments give the same bytes.

    Returns:
        ``svg`` and ``png`` -> the file's content.
    """
    about = {"Title": title or "DARTS cell", "Description": genotype.to_darts()}
    figure = plot_genotype(genotype, margins=margins, probabilities=probabilities, title=title)
    return render(figure, about=about)


def _open_decisions(
    cell_type: str, num_nodes: int, probabilities: Mapping[str, float | None]
) -> dict[str, set[int]]:
    """``op`` and ``input`` -> nodes whose decision is open."""
    return {
        kind: {
            node
            for node in range(num_nodes)
            if (name := f"{cell_type}/node{node}/{kind}") in probabilities
            and (probabilities[name] or 0.0) < DECIDED_AT
        }
        for kind in ("op", "input")
    }


def _inch_axes(figure: Figure) -> Axes:
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return axes


def _draw_cell(
    axes: Axes,
    layout: CellLayout,
    edges: Sequence[Edge],
    origin: Point,
    is_open: Mapping[str, set[int]],
) -> None:
    _draw_wires(axes, layout.concat_wires, origin, color=_CONCAT_WIRE, zorder=1)
    for source in sorted({wire.source for wire in layout.op_wires}):
        zorder = 2 + 0.1 * source
        wires = [wire for wire in layout.op_wires if wire.source == source]
        _draw_lines(axes, wires, origin, color="white", width=5.0, zorder=zorder)
        _draw_lines(axes, _stubs(layout, wires), origin, color=_CONCAT_WIRE, zorder=zorder)
        for dashed in (True, False):
            chosen = [
                wire
                for i, wire in enumerate(layout.op_wires)
                if wire.source == source and (i // 2 in is_open["input"]) is dashed
            ]
            _draw_wires(axes, chosen, origin, color=_WIRE, zorder=zorder, dashed=dashed)
    for box, name in zip(layout.inputs, ("$c_{k-2}$", "$c_{k-1}$"), strict=True):
        _draw_box(axes, box, origin, name, edge=INK, fill="white", size=11)
    for i, (box, (op, _)) in enumerate(zip(layout.ops, edges, strict=True)):
        edge, fill = KINDS[OP_KINDS[op]]
        dashed = i // 2 in is_open["op"]
        _draw_box(axes, box, origin, op, edge=edge, fill=fill, size=9, dashed=dashed)
        ends = ((box.right, box.y), (layout.nodes[i // 2].left, box.y))
        _draw_wires(axes, [Wire(0, ends)], origin, color=_WIRE, zorder=2)
    for i, box in enumerate(layout.nodes):
        _draw_box(axes, box, origin, str(i), edge=INK, fill="#F4F1E8", size=10.5)
    _draw_box(axes, layout.output, origin, "$c_k$", edge=INK, fill="white", size=11)


def _draw_margins(
    axes: Axes, layout: CellLayout, cell_type: str, margins: Mapping[str, float], origin: Point
) -> None:
    for i, node in enumerate(layout.nodes):
        lines = [
            f"{kind} margin {_short(margins[name])}"
            for kind in ("op", "input")
            if (name := f"{cell_type}/node{i}/{kind}") in margins
        ]
        x = origin[0] + layout.ops[2 * i].x
        for j, line in enumerate(lines):
            y = origin[1] + node.y + (j - (len(lines) - 1) / 2) * 0.145
            _text(axes, (x, y), line, size=7.5, color="#555555")


def _short(margin: float) -> str:
    return f"{margin:.2g}" if math.isfinite(margin) else "unknown"


def _legend_rows(genotype: Genotype) -> list[tuple[str, ...]]:
    """The usual kinds of operations, and below them the others that the cell has."""
    used = {OP_KINDS[op] for op, _ in (*genotype.normal, *genotype.reduce)}
    others = tuple(kind for kind in KINDS if kind in used and kind not in USUAL_KINDS)
    return [USUAL_KINDS, others] if others else [USUAL_KINDS]


def _draw_legend(axes: Axes, kinds: Sequence[str], at: Point) -> None:
    x, y = at
    for kind in kinds:
        edge, fill = KINDS[kind]
        _draw_box(axes, Box(x + 0.09, y, 0.18, 0.13), (0, 0), "", edge=edge, fill=fill, size=8)
        label = _text(axes, (x + 0.25, y), kind, size=8, color="#444444", align="left")
        x = axes.transData.inverted().transform(label.get_window_extent().max)[0] + 0.28


def _draw_box(
    axes: Axes,
    box: Box,
    origin: Point,
    label: str,
    *,
    edge: str,
    fill: str,
    size: float,
    dashed: bool = False,
) -> None:
    x, y = origin[0] + box.x, origin[1] + box.y
    rounding = min(0.07, box.height / 3)
    axes.add_patch(
        FancyBboxPatch(
            (x - box.width / 2, y - box.height / 2),
            box.width,
            box.height,
            boxstyle=f"round,pad=0,rounding_size={rounding}",
            edgecolor=edge,
            facecolor=fill,
            linewidth=1.2,
            linestyle=_style(dashed),
            zorder=5,
        )
    )
    if label:
        _text(axes, (x, y), label, size=size)


def _stubs(layout: CellLayout, wires: Sequence[Wire]) -> list[Wire]:
    """The starts of a source's way to c_k, which the gap round its other wires has cut."""
    source = wires[0].source
    track = max((wire.points[1][0] for wire in wires if len(wire.points) > 2), default=0.0)
    return [
        Wire(source, (wire.points[0], (track + 0.05, wire.points[0][1])))
        for wire in layout.concat_wires
        if wire.source == source
    ]


def _draw_wires(
    axes: Axes,
    wires: Sequence[Wire],
    origin: Point,
    *,
    color: str,
    zorder: float,
    dashed: bool = False,
) -> None:
    _draw_lines(axes, wires, origin, color=color, zorder=zorder, dashed=dashed)
    for tip in sorted({wire.points[-1] for wire in wires}):
        x, y = tip[0] + origin[0], tip[1] + origin[1]
        triangle = ((x, y), (x - 0.08, y - 0.034), (x - 0.08, y + 0.034))
        axes.add_patch(Polygon(triangle, facecolor=color, linewidth=0, zorder=zorder))


def _draw_lines(
    axes: Axes,
    wires: Sequence[Wire],
    origin: Point,
    *,
    color: str,
    width: float = 1.3,
    zorder: float,
    dashed: bool = False,
) -> None:
    for wire in wires:
        path = _rounded([(x + origin[0], y + origin[1]) for x, y in wire.points])
        axes.add_patch(
            PathPatch(
                path,
                fill=False,
                edgecolor=color,
                linewidth=width,
                linestyle=_style(dashed),
                snap=False,
                zorder=zorder,
            )
        )


def _style(dashed: bool) -> Any:
    return (0, (2.2, 1.6)) if dashed else "solid"


def _rounded(points: Sequence[Point]) -> Path:
    vertices, codes = [points[0]], [Path.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        vertices += [_towards(corner, before), corner, _towards(corner, after)]
        codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
    return Path([*vertices, points[-1]], [*codes, Path.LINETO])


def _towards(corner: Point, other: Point) -> Point:
    length = math.dist(corner, other)
    part = min(_CORNER, length / 2) / length
    return (
        corner[0] + part * (other[0] - corner[0]),
        corner[1] + part * (other[1] - corner[1]),
    )


def _text(
    axes: Axes,
    at: Point,
    text: str,
    *,
    size: float,
    color: str = INK,
    weight: str = "normal",
    align: str = "center",
    math: bool = True,
) -> Text:
    return axes.text(
        *at,
        text,
        size=size,
        color=color,
        weight=weight,
        ha=align,
        va="center_baseline" if align == "center" else "center",
        family="DejaVu Sans",
        math_fontfamily="dejavusans",
        parse_math=math,
        zorder=6,
    )


def cell_files(
    result: Mapping[str, Any], architecture: Architecture, *, title: str = ""
) -> dict[str, bytes]:
    """The files of the selected cell.

    Args:
        result: The content of ``result.json``.
        architecture: The cell.
        title: Of the picture; empty: what was searched.

    Returns:
        ``cell.svg``, ``cell.png`` -> content, of cells that can be drawn; of a DARTS cell also
        ``genotype.json``, ``genotype.txt``.
    """
    title, kept = title or _title(result), result.get("kept_probabilities")
    if "genotype" not in result:
        return _files(save_architecture_plot(architecture, probabilities=kept, title=title) or {})
    genotype = Genotype.from_dict(result["genotype"])
    drawn = save_genotype_plot(genotype, margins=result["margins"], probabilities=kept, title=title)
    return {
        "genotype.json": genotype.to_json().encode(),
        "genotype.txt": genotype.to_darts().encode() + b"\n",
        **_files(drawn),
    }


def save_architecture_plot(
    architecture: Architecture,
    *,
    probabilities: Mapping[str, float | None] | None = None,
    title: str = "",
) -> dict[str, bytes] | None:
    """Render a cell of any space.

    Returns:
        ``svg`` and ``png`` -> the file's content; None if the cell says of no graph
        (``CellGraph``).
    """
    if isinstance(architecture, Genotype):
        return save_genotype_plot(architecture, probabilities=probabilities, title=title)
    make_graph = getattr(architecture, "graph", None)
    if make_graph is None:
        return None
    return save_graph_plot(make_graph(), probabilities=probabilities, title=title)


def _files(drawn: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"cell.{kind}": data for kind, data in drawn.items()}


def _title(result: Mapping[str, Any]) -> str:
    # Only of the trace norm there is a method, fixed or adaptive.
    method = f"NASI-{result['method'].upper()}" if "method" in result else result["objective"]
    data = result["samples"].get("data", "data not known") if "samples" in result else ""
    space = "" if "genotype" in result else f" on {result['space']}"
    title = f"{method}{space}, {_data_name(data)}, seed {result['seed']}, T={result['num_samples']}"
    if result.get("kept_probabilities"):
        title += f"; dashed: stands with less than {DECIDED_AT:.0%}"
    return title


def _data_name(data: object) -> str:
    return "random data" if data == "random" else "images"


def cell_svg(genotype: Genotype) -> str:
    """The picture of a cell, for notebooks."""
    return save_genotype_plot(genotype)["svg"].decode()
