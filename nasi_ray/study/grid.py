"""Error of the selected cells over ν and μ, FIX and ADA (Figure 4)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from nasi_ray.config import EstimateConfig
from nasi_ray.display.figures import INK, new_figure
from nasi_ray.display.tables import markdown_table
from nasi_ray.records.rows import SampleTable
from nasi_ray.study.selection import SeedStatistics, Selection, over_seeds, replay
from nasi_ray.study.text import TIED_NOTE, over_seeds_text, plain
from nasi_ray.tables.accuracies import Accuracies


@dataclass(frozen=True, kw_only=True, slots=True)
class GridPoint:
    """The searches of all seeds with one ν and μ."""

    method: Literal["fix", "ada"]
    nu: float | str
    """As in ``EstimateConfig``; a percentile is of the seed's own e."""
    mu: float
    selections: tuple[Selection, ...]
    statistics: SeedStatistics


def constraint_grid(
    tables: Sequence[SampleTable],
    config: EstimateConfig,
    accuracies: Accuracies,
    *,
    nus: Sequence[float | str],
    mus: Sequence[float],
) -> tuple[GridPoint, ...]:
    """Replay the searches for every method, ν and μ.

    Args:
        tables: Records, one table a seed.
        config: Settings of the estimate; method, ν and μ are replaced.
        accuracies: Of the records' space.
        nus: Values of ``EstimateConfig.nu``; of ADA they give the initial value.
        mus: Penalty coefficients.

    Raises:
        ConfigError: If a ν or μ is not allowed.
        NoGoodSamplesError: If no sample of a seed is good.
    """
    points = []
    for method in ("fix", "ada"):
        for mu in mus:
            for nu in nus:
                changed = dataclasses.replace(config, method=method, nu=nu, mu=mu)
                selections = tuple(replay(table, changed, accuracies) for table in tables)
                points.append(
                    GridPoint(
                        method=changed.method,
                        nu=nu,
                        mu=mu,
                        selections=selections,
                        statistics=over_seeds(selections),
                    )
                )
    return tuple(points)


def grid_lines(points: Sequence[GridPoint], *, error_name: str) -> list[str]:
    """Figure 4 in numbers."""
    grid = [
        (p.method.upper(), plain(p.nu), plain(p.mu), over_seeds_text(p.statistics), _penalised(p))
        for p in points
    ]
    return [
        "### Selected cells over ν and μ (Figure 4)",
        "",
        "The best point of this grid is picked by the table: an oracle, as no search knows it. "
        "With ν above every e nothing is penalised, so μ makes no difference.",
        "",
        *markdown_table(("method", "ν or ν₀", "μ", f"{error_name}, %", "samples with e > ν"), grid),
        "",
        TIED_NOTE,
    ]


def grid_figure(points: Sequence[GridPoint], *, title: str, error_name: str) -> Figure:
    """Figure 4: error of the selected cell over ν and μ, FIX and ADA.

    Args:
        points: All combinations.
        title: Says space and settings.
        error_name: What the error is, as in ``test error``.
    """
    methods = list(dict.fromkeys(point.method for point in points))
    nus = list(dict.fromkeys(point.nu for point in points))
    mus = list(dict.fromkeys(point.mu for point in points))
    width, height = 0.78 * len(nus) + 1.6, 0.62 * len(mus) + 1.7
    figure, axes = new_figure(len(methods), size=(width * len(methods), height))
    figure.suptitle(title, fontsize=10)
    known = [p.statistics.mean for p in points if not math.isnan(p.statistics.mean)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    for panel, method in zip(axes, methods, strict=True):
        panel.grid(visible=False)
        found = {(p.mu, p.nu): p for p in points if p.method == method}
        rows = [[found[mu, nu] for nu in nus] for mu in mus]
        image = _heat_map(panel, rows, low, high)
        nu = "ν" if method == "fix" else "ν₀"
        panel.set_title(f"NASI-{method.upper()}", fontsize=9.5)
        panel.set_xticks(range(len(nus)), [plain(value) for value in nus])
        panel.set_yticks(range(len(mus)), [f"{mu:g}" for mu in mus])
        panel.set_xlabel(nu, fontsize=9)
        panel.set_ylabel("penalty μ", fontsize=9)
    figure.supxlabel("ν, ν₀: a number, auto, sweep, or a percentile of the seed's e", fontsize=8)
    bar = figure.colorbar(image, ax=axes, shrink=0.85)
    bar.set_label(f"mean {error_name} of the selected cells, %", fontsize=8)
    bar.ax.tick_params(labelsize=7.5)
    return figure


def _heat_map(
    panel: Axes, rows: Sequence[Sequence[GridPoint]], low: float, high: float
) -> AxesImage:
    means = np.array([[p.statistics.mean for p in row] for row in rows])
    image = panel.imshow(means, cmap="viridis_r", vmin=low, vmax=high, aspect="auto")
    for y, row in enumerate(rows):
        for x, point in enumerate(row):
            is_dark = point.statistics.mean > low + 0.55 * (high - low)
            text, color = _grid_text(point), "white" if is_dark else INK
            panel.text(x, y, text, ha="center", va="center", fontsize=6.8, color=color)
    return image


def _grid_text(point: GridPoint) -> str:
    known = point.statistics
    if not known.num:
        return "tied"
    text = f"{known.mean:.2f}"
    if known.num > 1:
        text += f"\n±{known.std:.2f}"
    return text + (f"\n{known.num_tied} tied" if known.num_tied else "")


def _penalised(point: GridPoint) -> str:
    shares = [s.share_penalised for s in point.selections]
    return f"{100 * sum(shares) / len(shares):.0f} %"
