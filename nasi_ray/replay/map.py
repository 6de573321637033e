"""A map of ν and μ: which cell each pair selects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from nasi_ray.display.figures import COLORS, GREY, INK, new_figure, render
from nasi_ray.display.formats import plural
from nasi_ray.replay.text import short

MAX_PANELS = 12
_NUM_COLORS = len(COLORS) - 2  # black hides the text, and grey is for all other cells
_MAX_TEXTS = 150

Points = Sequence[Mapping[str, Any]]


def map_files(content: Mapping[str, Any]) -> dict[str, bytes]:
    """Draw a panel for each combination of the other settings.

    A tile has the colour and number of the cell that most runs select, how many runs that are and,
    where errors are known, the mean error of the runs' cells.

    Args:
        content: Of ``replay.json``.

    Returns:
        ``map.svg``, ``map.png`` -> content; empty where neither ν nor μ varies. Of more than 12
        combinations the first 12 are drawn.
    """
    points: Points = content["points"]
    axes = [_values(points, name) for name in ("nu", "mu")]
    if max(map(len, axes)) < 2:
        return {}
    panels: dict[str, list[Mapping[str, Any]]] = {}
    for point in points:
        rest = {n: v for n, v in point["settings"].items() if n not in ("nu", "mu")}
        title = ", ".join(f"{name} {short(value)}" for name, value in rest.items())
        panels.setdefault(title, []).append(point)
    shown = list(panels.items())[:MAX_PANELS]
    columns = 2 if len(shown) == 4 else min(len(shown), 3)
    rows = -(-len(shown) // columns)
    width, height = max(3.0, 0.52 * len(axes[0]) + 1.2), max(1.9, 0.5 * len(axes[1]) + 1.2)
    figure, drawn = new_figure(
        len(shown), size=(width * columns, height * rows + 0.6), num_columns=columns, tick_size=7
    )
    for panel, (title, of_panel) in zip(drawn, shown, strict=True):
        panel.set_title(title, fontsize=8)
        _draw(panel, of_panel, axes, content)
    title = f"{content['space']}: cells over ν and μ, of {plural(len(content['runs']), 'run')}"
    figure.suptitle(title, fontsize=9.5)
    named = range(1, 1 + min(len(content["cells"]), _NUM_COLORS))
    patches = [Patch(color=_color(number), label=f"cell {number}") for number in named]
    if len(content["cells"]) > _NUM_COLORS:
        patches.append(Patch(color=GREY, label="other cells"))
    figure.legend(handles=patches, loc="outside lower center", ncols=7, fontsize=7, frameon=False)
    files = render(figure, about={"Title": title})
    return {f"map.{kind}": data for kind, data in files.items()}


def _values(points: Points, name: str) -> list[Any]:
    """The values of a setting; one of None if it is not on the grid."""
    return list(dict.fromkeys(point["settings"].get(name) for point in points))


def _draw(
    panel: Axes, points: Points, axes: Sequence[Sequence[Any]], content: Mapping[str, Any]
) -> None:
    nus, mus = axes
    panel.grid(visible=False)
    for point in points:
        x = nus.index(point["settings"].get("nu")) - 0.5
        y = mus.index(point["settings"].get("mu")) - 0.5
        selected: list[int] = point["cells"]
        number, count = Counter(selected).most_common(1)[0]
        panel.add_patch(
            Rectangle((x, y), 1, 1, facecolor=_color(number), edgecolor="white", alpha=0.75)
        )
        if len(points) <= _MAX_TEXTS:
            text = _text(number, count, selected, content)
            panel.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=5.5, color=INK)
    for values, name, limit, ticks in (
        (nus, "ν (ν₀ of ada)", panel.set_xlim, panel.set_xticks),
        (mus, "μ", panel.set_ylim, panel.set_yticks),
    ):
        limit(-0.5, len(values) - 0.5)
        ticks(range(len(values)), [short(v) if v is not None else name for v in values])
    panel.tick_params(axis="x", rotation=60)
    panel.set_xlabel("ν (ada: ν₀)", fontsize=8)
    panel.set_ylabel("μ", fontsize=8)


def _text(number: int, count: int, selected: Sequence[int], content: Mapping[str, Any]) -> str:
    text = str(number)
    if len(selected) > 1:
        text += f"\n{count}/{len(selected)}"
    cells = content["cells"]
    if "error_percent" in cells[0]:
        mean = sum(cells[i - 1]["error_percent"] for i in selected) / len(selected)
        text += f"\n{mean:.1f} %"
    return text


def _color(number: int) -> str:
    return COLORS[number - 1] if number <= _NUM_COLORS else GREY
