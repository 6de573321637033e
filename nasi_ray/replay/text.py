"""A replay in text: how often each cell is selected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasi_ray.display.formats import format_millions, plural, printable, wrapped
from nasi_ray.display.tables import text_table

MAX_SHOWN = 15
"""Cells of the table on the terminal."""


def replay_lines(content: Mapping[str, Any]) -> list[str]:
    """The distinct cells, in lines of at most 80 columns (a cell's own text may be longer).

    Args:
        content: Of ``replay.json``.
    """
    cells, points, runs = content["cells"], content["points"], content["runs"]
    grid = {
        name: list(dict.fromkeys(point["settings"][name] for point in points))
        for name in points[0]["settings"]
    }
    lines = wrapped(
        f"{content['space']}: {plural(len(points), 'point')} × {plural(len(runs), 'run')} select "
        f"{plural(len(cells), 'cell')}"
    )
    for name, values in grid.items():
        shown = ", ".join(map(short, values)) if len(values) <= 6 else _ends(values)
        lines += wrapped(f"{name}: {shown}", indent="  ", hanging="    ")
    headings = ["cell", "selected", "points", "runs"]
    columns = {"parameters": "num_params", content.get("error", ""): "error_percent"}
    known = {title: name for title, name in columns.items() if name in cells[0]}
    rows = [
        (
            f"cell {i}",
            f"{100 * cell['num_selected'] / (len(points) * len(runs)):.1f} %",
            str(cell["num_points"]),
            str(cell["num_runs"]),
            *(_number(name, cell[name]) for name in known.values()),
        )
        for i, cell in enumerate(cells[:MAX_SHOWN], start=1)
    ]
    lines += ["", *text_table([*headings, *known], rows), ""]
    lines += [
        printable(f"cell {i}: {cell['architecture']}")
        for i, cell in enumerate(cells[:MAX_SHOWN], start=1)
    ]
    if (left := len(cells) - MAX_SHOWN) > 0:
        lines += wrapped(f"and {plural(left, 'other')}; --out writes all of them")
    return lines


def short(value: object) -> str:
    """A setting's value as it is typed in."""
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _ends(values: list[Any]) -> str:
    first, second, *_, last = map(short, values)
    return f"{first}, {second}, ..., {last} ({len(values)} values)"


def _number(name: str, value: float) -> str:
    return f"{value:.2f} %" if name == "error_percent" else format_millions(value)
