"""Figures of the study: what all share, Figure 1 and Figure 2. Same numbers, same bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nasi_ray.arrays import FloatArray
from nasi_ray.study.accuracies import SpaceReference
from nasi_ray.study.agnosticism import Agreement
from nasi_ray.study.effectiveness import Budget
from nasi_ray.study.text import MODE_NAMES, interval

DPI = 144
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
"""Okabe and Ito's palette; seeds beyond the eighth begin anew."""
INK, GREY = "#222222", "#8C8C8C"


def new_figure(
    num_panels: int, *, width: float = 4.6, height: float = 4.2
) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side, and their axes."""
    figure = Figure(figsize=(width * num_panels, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(np.ravel(figure.subplots(1, num_panels)))
    for panel in axes:
        panel.grid(color="#E4E4E4", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.tick_params(labelsize=8)
    return figure, axes


def render(figure: Figure) -> dict[str, bytes]:
    """``svg`` and ``png`` -> the file's content."""
    svg, png = io.BytesIO(), io.BytesIO()
    # These settings have no argument; the context puts the caller's values back.
    with mpl.rc_context({"svg.hashsalt": "nasi_ray", "svg.fonttype": "path"}):
        figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return {"svg": svg.getvalue(), "png": png.getvalue()}


def color_of(position: int) -> str:
    """Colour of a seed or series."""
    return COLORS[position % len(COLORS)]


def agnostic_figure(
    agreements: Mapping[str, Agreement], *, title: str, seeds: Sequence[int]
) -> Figure:
    """Figure 1: e with random labels and data against e with the true ones.

    Args:
        agreements: Data mode -> its agreement with the true labels.
        title: Says space and settings.
        seeds: In the order of the agreements' pairs.
    """
    figure, axes = new_figure(len(agreements))
    figure.suptitle(title, fontsize=10)
    for panel, (mode, agreement) in zip(axes, agreements.items(), strict=True):
        _scatter_modes(panel, mode, agreement, seeds)
    axes[0].legend(fontsize=7, loc="lower right", title_fontsize=7)
    return figure


def _scatter_modes(panel: Axes, mode: str, agreement: Agreement, seeds: Sequence[int]) -> None:
    for position, ((x, y), seed) in enumerate(zip(agreement.pairs, seeds, strict=True)):
        panel.scatter(x, y, s=9, alpha=0.55, color=color_of(position), lw=0, label=f"seed {seed}")
    (left, right), (bottom, top) = (
        _limits(values) for values in zip(*agreement.pairs, strict=True)
    )
    ends = (min(left, bottom), max(right, top))
    panel.plot(ends, ends, color=GREY, lw=1, ls=":", label="equal")
    # Room on top for the text.
    panel.set(
        xscale="log", yscale="log", xlim=(left, right), ylim=(bottom, top * (top / bottom) ** 0.25)
    )
    panel.set_xlabel(r"trace norm $e=\|\nabla_\theta L\|^2$, true labels and images", fontsize=8.5)
    panel.set_ylabel(f"trace norm $e$, {MODE_NAMES[mode]}", fontsize=8.5)
    text = "\n".join(
        [
            f"n = {agreement.num_pairs} architectures, {len(seeds)} seeds",
            f"Pearson (e) {interval(agreement.pearson)}",
            f"Pearson (log e) {interval(agreement.pearson_log)}",
            f"Spearman {interval(agreement.spearman)}",
        ]
    )
    panel.text(0.03, 0.97, text, transform=panel.transAxes, va="top", fontsize=7.5, color=INK)


def _limits(values: Sequence[FloatArray]) -> tuple[float, float]:
    together = np.concatenate(values)
    together = together[together > 0]
    return (together.min() * 0.85, together.max() * 1.18) if len(together) else (0.1, 10.0)


def effectiveness_figure(
    curve: Sequence[Budget],
    reference: SpaceReference,
    *,
    title: str,
    error_name: str,
    seeds: Sequence[int],
) -> Figure:
    """Figure 2: error of the selected cell against the number of samples.

    Args:
        curve: Points of the curve.
        reference: Of the space.
        title: Says space and settings.
        error_name: What the error is, as in ``test error``.
        seeds: In the order of the points' selections.
    """
    figure, (panel,) = new_figure(1, width=7.4, height=4.6)
    figure.suptitle(title, fontsize=10)
    _draw_curve(panel, curve, seeds)
    lines = (
        (reference.expected, COLORS[1], "--", "random architecture, expected"),
        (reference.most_parameters[1], COLORS[4], "--", "most parameters"),
        (reference.best, COLORS[2], ":", "space's best"),
    )
    for value, color, style, label in lines:
        panel.axhline(value, color=color, lw=1.4, ls=style, label=f"{label}: {value:.2f} %")
    panel.set_xlabel("Monte-Carlo samples T", fontsize=9)
    panel.set_ylabel(f"{error_name} of the selected cell, %", fontsize=9)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    panel.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return figure


def _draw_curve(panel: Axes, curve: Sequence[Budget], seeds: Sequence[int]) -> None:
    budgets = [point.num_samples for point in curve]
    for position, _ in enumerate(seeds):
        chosen = [point.selections[position] for point in curve]
        errors = [s.error_percent if s.is_determined else math.nan for s in chosen]
        label = "NASI, each seed" if position == 0 else None
        panel.plot(budgets, errors, color="#9CC4E0", lw=0.8, label=label)
    mean = np.array([point.statistics.mean for point in curve])
    std = np.nan_to_num([point.statistics.std for point in curve])
    panel.fill_between(budgets, mean - std, mean + std, color=COLORS[0], alpha=0.15, lw=0)
    label = f"NASI, mean ± std of {len(seeds)} seeds"
    panel.plot(budgets, mean, color=COLORS[0], lw=2, marker="o", ms=3, label=label)
    oracle = [point.oracle_error for point in curve]
    label = "best of T random cells, picked by an oracle"
    panel.plot(budgets, oracle, color=COLORS[3], lw=1.4, ls="-.", label=label)
