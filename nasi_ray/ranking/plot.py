"""Pictures of a ranking: error against score, and mean error by tenth of the score."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from nasi_ray.arrays import FloatArray
from nasi_ray.display.figures import BLUE, ORANGE, new_figure, render
from nasi_ray.ranking.scores import ProxyScores
from nasi_ray.ranking.text import error_name
from nasi_ray.statistics import mean_over_seeds

DPI = 130
_BAND = "#F3D3BC"
_MAX_COLUMNS = 4
_PANEL = (3.1, 2.6)
_LOG_RANGE = 30.0
_FEW = 300
"""Dots that are drawn large."""

Draw = Callable[[Axes, ProxyScores, Mapping[str, Any]], None]


def save_ranking_plots(
    result: Mapping[str, Any], scores: Sequence[ProxyScores], error_percent: FloatArray
) -> dict[str, bytes]:
    """Draw both pictures; the same arguments give the same bytes.

    Args:
        result: The content of ``ranking.json``.
        scores: Of every proxy, in the order of ``result["proxies"]``.
        error_percent: Errors, shape (architectures,).

    Returns:
        File name -> content: ``scatter`` and ``deciles``, each as svg and png.
    """

    def scatter(axes: Axes, proxy: ProxyScores, entry: Mapping[str, Any]) -> None:
        _draw_scatter(axes, mean_over_seeds(proxy.scores), error_percent)

    def bins(axes: Axes, proxy: ProxyScores, entry: Mapping[str, Any]) -> None:
        _draw_deciles(axes, entry)

    title = f"{result['space']}, {result['architectures']['num']} architectures"
    error = error_name(result["metric"])
    scattered = f"{error.capitalize()} against score: {title}; ρ: Spearman, with accuracy"
    binned = f"Mean {error} by tenth of the score: {title}"
    figures = {
        "scatter": _panels(scattered, result, scores, scatter),
        "deciles": _panels(binned, result, scores, bins),
    }
    return {
        f"{name}.{kind}": data
        for name, figure in figures.items()
        for kind, data in render(figure).items()
    }


def _panels(
    title: str, result: Mapping[str, Any], scores: Sequence[ProxyScores], draw: Draw
) -> Figure:
    columns = min(_MAX_COLUMNS, len(scores))
    rows = math.ceil(len(scores) / columns)
    figure, panels = new_figure(
        len(scores),
        size=(_PANEL[0] * columns, _PANEL[1] * rows + 0.4),
        num_columns=columns,
        tick_size=7,
        dpi=DPI,
    )
    figure.suptitle(title, fontsize=11, fontweight="bold")
    for position, (axes, proxy, entry) in enumerate(
        zip(panels, scores, result["proxies"], strict=True)
    ):
        axes.set_title(_heading(entry), fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        if position % columns == 0:
            axes.set_ylabel(f"{error_name(result['metric'])}, % (better is up)", fontsize=8)
        draw(axes, proxy, entry)
        # ρ is the correlation with accuracy, so that what is good is up.
        axes.invert_yaxis()
    return figure


def _heading(entry: Mapping[str, Any]) -> str:
    rho = entry["spearman"]["value"]
    direction = "" if entry["higher_is_better"] else " (lower is better)"
    return f"{entry['name']}{direction}   ρ = {'?' if rho is None else f'{rho:+.2f}'}"


def _draw_scatter(axes: Axes, score: FloatArray, error_percent: FloatArray) -> None:
    there = np.isfinite(score)
    x, y = score[there], error_percent[there]
    if not len(x):
        _say(axes, "no scores")
        return
    area, opacity = (14.0, 0.7) if len(x) <= _FEW else (4.0, 0.35)
    axes.scatter(x, y, s=area, c=BLUE, alpha=opacity, linewidths=0, rasterized=True)
    _scale_x(axes, x)
    _scale_y(axes, y)


def _draw_deciles(axes: Axes, entry: Mapping[str, Any]) -> None:
    groups = entry["deciles"]
    if not groups:
        _say(axes, "no scores")
        return
    x, y, std = (np.array([group[key] for group in groups]) for key in ("score", "error", "std"))
    # Half a standard deviation to either side, as in Figure 3 of the paper.
    axes.fill_between(x, y - std / 2, y + std / 2, color=_BAND, linewidth=0)
    axes.plot(x, y, color=ORANGE, marker="o", markersize=3.5, linewidth=1.4)
    _scale_x(axes, x)


def _scale_x(axes: Axes, x: FloatArray) -> None:
    if x.min() > 0 and x.max() / x.min() > _LOG_RANGE:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
        axes.xaxis.get_offset_text().set_fontsize(7)


def _scale_y(axes: Axes, y: FloatArray) -> None:
    """Leave a few failed trainings out of the picture if they would flatten it."""
    top = float(np.quantile(y, 0.97))
    if y.max() - y.min() > 3 * (top - y.min()) > 0:
        limit = y.min() + 1.1 * (top - y.min())
        axes.set_ylim(y.min() - 0.05 * (limit - y.min()), limit)
        outside = int((y > limit).sum())
        axes.text(
            0.98, 0.03, f"{outside} below", transform=axes.transAxes, ha="right", va="bottom",
            fontsize=7, color="#666666",
        )  # fmt: skip


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=8)
