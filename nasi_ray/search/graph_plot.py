"""A drawing of a cell that is a graph: vertices in a row, edges as arcs above and below it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from nasi_ray.display.figures import BLUE, DPI, GREY, INK, YELLOW, render
from nasi_ray.spaces.cell_graph import Arc, CellGraph
from nasi_ray.statistics import DECIDED_AT

_BOX_HEIGHT, _CHARACTER, _GAP, _MARGIN = 0.34, 0.092, 0.62, 0.3
_LIFT = 0.55
"""Height of an arc in inches, per level."""
_COLORS = {"conv": (BLUE, "#D6E8F4"), "pool": (YELLOW, "#FCEFD3"), "skip": (GREY, "#EFEFEF")}
"""Part of an operation's name -> outline and fill."""


def save_graph_plot(
    graph: CellGraph, *, probabilities: Mapping[str, float | None] | None = None, title: str = ""
) -> dict[str, bytes]:
    """Render ``plot_graph``; the same arguments give the same bytes.

    Returns:
        ``svg`` and ``png`` -> the file's content.
    """
    figure = plot_graph(graph, probabilities=probabilities, title=title)
    return render(figure, about={"Title": title or "cell"})


def plot_graph(
    graph: CellGraph, *, probabilities: Mapping[str, float | None] | None = None, title: str = ""
) -> Figure:
    """Draw a cell from left to right.

    Args:
        graph: The cell.
        probabilities: Decision -> share of bootstrap draws in which it stays as it is; what is
            open (``DECIDED_AT``) is dashed.
        title: Written on top, wrapped to the width.
    """
    widths = [max(0.5, _CHARACTER * len(vertex.label) + 0.16) for vertex in graph.vertices]
    label = max((len(arc.label) for arc in graph.arcs), default=0)
    gap = max(_GAP, _CHARACTER * label + 0.4)
    lefts = [_MARGIN + sum(widths[:i]) + i * gap for i in range(len(widths))]
    width = max(6.4, lefts[-1] + widths[-1] + _MARGIN)
    levels = _levels(graph)
    up, down = max([0.0, *levels.values()]), -min([0.0, *levels.values()])
    lines = textwrap.wrap(title, width=int((width - 2 * _MARGIN) * 8))
    top = _MARGIN + 0.24 * len(lines) + 0.2
    height = top + _LIFT * (up + down) + 2 * _BOX_HEIGHT + _MARGIN
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    for i, line in enumerate(lines):
        axes.text(_MARGIN, _MARGIN + 0.24 * i, line, size=11, weight="bold", va="center", color=INK,
                  parse_math=False)  # fmt: skip
    row = top + _LIFT * up + _BOX_HEIGHT
    is_open = _open(probabilities or {})
    for arc in graph.arcs:
        sides = lefts[arc.source] + widths[arc.source], lefts[arc.target]
        # Arcs leave to the right of a box's middle and arrive to its left.
        feet = (
            lefts[arc.source] + 0.7 * widths[arc.source],
            lefts[arc.target] + 0.3 * widths[arc.target],
        )
        _draw_arc(axes, arc, sides, feet, row, levels[arc], dashed=arc.decision in is_open)
    for vertex, left, wide in zip(graph.vertices, lefts, widths, strict=True):
        _draw_vertex(axes, vertex.label, left, wide, row, dashed=vertex.decision in is_open)
    return figure


def _open(probabilities: Mapping[str, float | None]) -> set[str]:
    return {name for name, value in probabilities.items() if (value or 0.0) < DECIDED_AT}


def _levels(graph: CellGraph) -> dict[Arc, float]:
    """How far above (> 0) or below the row each arc goes: 0 for neighbours, else no two alike.

    Long arcs go around shorter ones; of two that cross, one goes above and one below if it can.
    """
    levels: dict[Arc, float] = {}
    for arc in sorted(graph.arcs, key=lambda arc: (arc.target - arc.source, arc.source)):
        if arc.target == arc.source + 1:
            levels[arc] = 0.0
            continue
        near = [other for other in levels if levels[other] and _meet(arc, other)]
        above = 1 + max((levels[other] for other in near if levels[other] > 0), default=0.0)
        below = 1 + max((-levels[other] for other in near if levels[other] < 0), default=0.0)
        levels[arc] = above if above <= below else -below
    return levels


def _meet(one: Arc, other: Arc) -> bool:
    return max(one.source, other.source) < min(one.target, other.target)


def _style(name: str) -> tuple[str, str]:
    return next((style for part, style in _COLORS.items() if part in name), (INK, "white"))


def _draw_arc(
    axes: Axes,
    arc: Arc,
    sides: tuple[float, float],
    feet: tuple[float, float],
    row: float,
    level: float,
    *,
    dashed: bool,
) -> None:
    color = _style(arc.label)[0] if arc.label else "#4A4A4A"
    if level == 0:
        (start, end), y, shape, at = sides, row, "arc3,rad=0", row - 0.13
    else:
        side = 1 if level > 0 else -1
        (start, end), y = feet, row - side * _BOX_HEIGHT / 2
        # The middle of an arc3 is half of rad times its length away from the straight line.
        shape = f"arc3,rad={-side * 2 * _LIFT * abs(level) / (end - start)}"
        at = y - side * _LIFT * abs(level)
    arrow = FancyArrowPatch(
        (start, y),
        (end, y),
        connectionstyle=shape,
        arrowstyle="-|>",
        mutation_scale=9,
        shrinkA=0,
        shrinkB=1,
        color=color,
        linewidth=1.4,
        linestyle=(0, (2.2, 1.6)) if dashed else "solid",
        zorder=2,
    )
    axes.add_patch(arrow)
    if arc.label:
        _draw_label(axes, (start + end) / 2, at, arc.label)


def _draw_label(axes: Axes, x: float, y: float, label: str) -> None:
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    axes.text(x, y, label, size=9, color=INK, ha="center", va="center", zorder=6, bbox=behind)


def _draw_vertex(
    axes: Axes, label: str, left: float, width: float, row: float, *, dashed: bool
) -> None:
    edge, fill = _style(label)
    axes.add_patch(
        FancyBboxPatch(
            (left, row - _BOX_HEIGHT / 2),
            width,
            _BOX_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.07",
            edgecolor=edge,
            facecolor=fill,
            linewidth=1.2,
            linestyle=(0, (2.2, 1.6)) if dashed else "solid",
            zorder=5,
        )
    )
    axes.text(left + width / 2, row, label, size=9.5, color=INK, ha="center",
              va="center_baseline", zorder=6)  # fmt: skip
