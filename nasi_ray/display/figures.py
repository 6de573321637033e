"""Figures of all jobs: one palette, and files that are the same bytes for the same numbers."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 144
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
"""Okabe and Ito's palette; series beyond the eighth begin anew."""
BLUE, ORANGE, GREEN, PINK, YELLOW = COLORS[:5]
INK, GREY = "#222222", "#8C8C8C"


def color_of(position: int) -> str:
    """Colour of a seed or series."""
    return COLORS[position % len(COLORS)]


def new_figure(
    num_panels: int,
    *,
    size: tuple[float, float],
    num_columns: int | None = None,
    tick_size: float = 8,
    dpi: int = DPI,
) -> tuple[Figure, list[Axes]]:
    """A figure with a grid of panels, and their axes, row by row.

    Args:
        num_panels: At least one.
        size: Width and height of the figure in inches.
        num_columns: Panels in a row; by default all of them.
        tick_size: Font size of the ticks' labels, points.
        dpi: Dots per inch of a PNG.
    """
    # Without pyplot, which keeps every figure and picks a window system.
    figure = Figure(figsize=size, dpi=dpi, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    columns = num_columns or num_panels
    rows = math.ceil(num_panels / columns)
    panels = [figure.add_subplot(rows, columns, i + 1) for i in range(num_panels)]
    for panel in panels:
        panel.grid(color="#E4E4E4", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.tick_params(labelsize=tick_size)
    return figure, panels


def legend_below(panel: Axes) -> None:
    """Put the legend below a panel, in two columns: beside it, it would take half of the width."""
    place = (0.5, -0.13)
    panel.legend(fontsize=7.5, ncols=2, frameon=False, loc="upper center", bbox_to_anchor=place)


def render(figure: Figure, *, about: Mapping[str, str] | None = None) -> dict[str, bytes]:
    """Render a figure; the same drawing gives the same bytes.

    Args:
        figure: Drawn; its own resolution is used.
        about: Metadata of both files: ``Title``, ``Description``.

    Returns:
        ``svg`` and ``png`` -> the file's content.
    """
    about, svg, png = about or {}, io.BytesIO(), io.BytesIO()
    for artist in figure.findobj():
        artist.set_sketch_params(None)  # the default is read when an artist is made
    # These settings have no argument; the context puts the caller's values back.
    with mpl.rc_context(
        {
            "svg.hashsalt": "nasi_ray",
            "svg.fonttype": "path",
            "savefig.bbox": None,
            "path.sketch": None,
        }
    ):
        figure.savefig(png, format="png", dpi=figure.dpi, metadata={**about, "Software": None})
        figure.savefig(
            svg, format="svg", dpi=figure.dpi, metadata={**about, "Date": None, "Creator": None}
        )
    return {"svg": svg.getvalue(), "png": png.getvalue()}
