"""Figures of the study: Figures 3 and 4, and the ablation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from nasi_ray.arrays import FloatArray
from nasi_ray.study.ablation import Variation
from nasi_ray.study.accuracies import SampledCells, SpaceReference
from nasi_ray.study.figures import COLORS, GREY, INK, color_of, new_figure
from nasi_ray.study.text import interval, plain
from nasi_ray.study.tradeoff import GridPoint, Group, Relation


def relation_figure(
    cells: Sequence[SampledCells],
    groups: Sequence[Group],
    relation: Relation,
    reference: SpaceReference,
    *,
    title: str,
    error_name: str,
    seeds: Sequence[int],
) -> Figure:
    """Figure 3: error of the sampled architectures against their e.

    Args:
        cells: Samples of every seed.
        groups: Tenths by e.
        relation: Of e and error.
        reference: Of the space.
        title: Says space and settings.
        error_name: What the error is, as in ``test error``.
        seeds: In the order of ``cells``.
    """
    figure, (panel,) = new_figure(1, width=6.6, height=4.6)
    figure.suptitle(title, fontsize=10)
    _draw_samples(panel, cells, seeds)
    _draw_groups(panel, groups)
    panel.axhline(reference.best, color=COLORS[2], ls=":", label="space's best")
    panel.axhline(reference.expected, color=GREY, ls="--", label="random architecture, expected")
    _scale_axes(panel, np.concatenate([known.error_percent for known in cells]))
    panel.set_xlabel(
        r"trace norm $e=\|\nabla_\theta L\|^2$ of the sampled architecture", fontsize=9
    )
    panel.set_ylabel(f"{error_name}, %", fontsize=9)
    text = f"Spearman {interval(relation.spearman)}\nKendall {interval(relation.kendall)}"
    panel.text(0.98, 0.97, text, transform=panel.transAxes, va="top", ha="right", fontsize=8)
    panel.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return figure


def _draw_samples(panel: Axes, cells: Sequence[SampledCells], seeds: Sequence[int]) -> None:
    for position, (seed, known) in enumerate(zip(seeds, cells, strict=True)):
        panel.scatter(
            known.trace_norm,
            known.error_percent,
            s=9,
            alpha=0.4,
            lw=0,
            color=color_of(position),
            label=f"seed {seed}, n = {len(known.index)}",
        )


def _draw_groups(panel: Axes, groups: Sequence[Group]) -> None:
    panel.errorbar(
        [g.mean_trace_norm for g in groups],
        [g.mean_error for g in groups],
        yerr=[g.std_error / 2 for g in groups],
        color=INK,
        lw=1.6,
        marker="s",
        ms=4,
        capsize=2.5,
        label=f"tenths by e: mean ± ½ std, {_counts(groups)} each",
    )


def _scale_axes(panel: Axes, errors: FloatArray) -> None:
    panel.set_xscale("log")
    if errors.max() > 5 * errors.min():
        panel.set_yscale("log")
        ticks = [t for t in (4, 6, 8, 10, 15, 20, 30, 50, 90) if errors.min() * 0.7 <= t]
        panel.set_yticks(ticks, [str(t) for t in ticks])
        panel.minorticks_off()


def _counts(groups: Sequence[Group]) -> str:
    fewest, most = min(g.num for g in groups), max(g.num for g in groups)
    return f"n = {most}" if fewest == most else f"n = {fewest} to {most}"


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
    figure, axes = new_figure(
        len(methods), width=0.78 * len(nus) + 1.6, height=0.62 * len(mus) + 1.7
    )
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
        panel.set_xlabel(
            f"{nu}: a number, auto, sweep, or a percentile of the seed's e", fontsize=8
        )
        panel.set_ylabel("penalty μ", fontsize=9)
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
        return "undeter-\nmined"
    text = f"{known.mean:.2f}"
    if known.num > 1:
        text += f"\n±{known.std:.2f}"
    return text + (f"\n{known.num_undetermined} undet." if known.num_undetermined else "")


def ablation_figure(
    variations: Sequence[Variation], reference: SpaceReference, *, title: str, error_name: str
) -> Figure:
    """Error of the selected cells, a line per variation.

    Args:
        variations: All of them.
        reference: Of the space.
        title: Says space and settings.
        error_name: What the error is, as in ``test error``.
    """
    figure, (panel,) = new_figure(1, width=7.6, height=0.235 * len(variations) + 1.5)
    figure.suptitle(title, fontsize=10)
    factors = list(dict.fromkeys(v.factor for v in variations))
    for y, variation in enumerate(variations):
        color = color_of(factors.index(variation.factor))
        errors = [s.error_percent for s in variation.selections if s.is_determined]
        panel.scatter(errors, [y] * len(errors), s=12, color=color, alpha=0.5, lw=0)
        if variation.statistics is not None and variation.statistics.num:
            panel.plot(variation.statistics.mean, y, marker="|", ms=11, mew=2.2, color=color)
        else:
            where = panel.get_yaxis_transform()
            panel.text(0.5, y, "undetermined or failed", transform=where, va="center", fontsize=7)
    panel.axvline(reference.expected, color=GREY, ls="--", label="random architecture, expected")
    panel.axvline(reference.best, color=COLORS[2], ls=":", label="space's best")
    names = [f"{v.factor} = {v.value}{' (base)' if v.is_base else ''}" for v in variations]
    panel.set_yticks(range(len(names)), names, fontsize=7.5)
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.set_xlabel(
        f"{error_name} of the selected cells, %: each seed, and their mean", fontsize=9
    )
    panel.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return figure
