"""How good the selected cell is after T' samples: replays of one set of records (Figure 2)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nasi_ray.config import EstimateConfig
from nasi_ray.display.figures import (
    BLUE,
    GREEN,
    ORANGE,
    PINK,
    YELLOW,
    legend_below,
    new_figure,
)
from nasi_ray.display.tables import markdown_table
from nasi_ray.errors import ConfigError
from nasi_ray.records.rows import SampleTable
from nasi_ray.study.accuracies import SpaceReference
from nasi_ray.study.outcome import Outcome, describe_settings
from nasi_ray.study.searches import RunSource, resolve_mode
from nasi_ray.study.selection import SeedStatistics, Selection, over_seeds, replay
from nasi_ray.study.settings import EffectivenessStudy
from nasi_ray.study.text import (
    MODE_NAMES,
    TIED_NOTE,
    number,
    over_seeds_text,
    reference_rows,
    selections_table,
)
from nasi_ray.tables.accuracies import Accuracies, open_accuracies


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """The searches of all seeds, ended after T' samples."""

    num_samples: int
    """T'."""
    selections: tuple[Selection, ...]
    """One per seed."""
    statistics: SeedStatistics
    oracle_error: float
    """Expected error of the best of T' random architectures, picked by the table itself."""


def search_curve(
    tables: Sequence[SampleTable],
    config: EstimateConfig,
    accuracies: Accuracies,
    reference: SpaceReference,
    *,
    step: int,
) -> tuple[Budget, ...]:
    """Replay the searches for T' = step, 2·step, …, T.

    Args:
        tables: Records, one table a seed.
        config: Settings of the estimate; its ``num_samples`` is T.
        accuracies: Of the records' space.
        reference: Of the same.
        step: Samples between two points.

    Raises:
        ConfigError: If ``step`` is below 1.
        NoGoodSamplesError: If none of the first samples of a seed is good.
    """
    curve = []
    for num_samples in budgets(config.num_samples, step):
        shorter = dataclasses.replace(config, num_samples=num_samples)
        selections = tuple(replay(table, shorter, accuracies) for table in tables)
        curve.append(
            Budget(
                num_samples=num_samples,
                selections=selections,
                statistics=over_seeds(selections),
                oracle_error=reference.best_of(num_samples),
            )
        )
    return tuple(curve)


def budgets(num_samples: int, step: int) -> list[int]:
    """step, 2·step, … and T itself.

    Raises:
        ConfigError: If ``step`` is below 1.
    """
    if step < 1:
        raise ConfigError(f"step is {step}; it must be at least 1")
    return sorted({*range(step, num_samples, step), num_samples})


def run(study: EffectivenessStudy, source: RunSource) -> Outcome:
    """Replay the searches of all seeds, ended after T' samples.

    Raises:
        NasiRayError: Whatever a user can cause; what was computed is stored.
    """
    settings, space = study.settings, study.settings.samples.space
    mode = resolve_mode(study.mode, settings.samples)
    budgets(settings.estimate.num_samples, study.step)
    accuracies = open_accuracies(space, settings.table, settings.metric)
    reference = SpaceReference(accuracies)
    tables = source.tables(source.plan(settings.samples, mode, [settings.estimate]))
    curve = search_curve(tables, settings.estimate, accuracies, reference, step=study.step)
    name, title = f"effectiveness-{space}", describe_settings(settings, mode)
    return Outcome(
        name=name,
        title=f"Search effectiveness on {space}, {MODE_NAMES[mode]}",
        metrics={space: reference.metric},
        result={
            "mode": mode,
            "curve": curve,
            "reference": reference.to_json(settings.estimate.num_samples),
        },
        lines=effectiveness_lines(curve, reference, seeds=settings.seeds),
        figures={name: effectiveness_figure(curve, reference, title=title, seeds=settings.seeds)},
    )


def effectiveness_lines(
    curve: Sequence[Budget], reference: SpaceReference, *, seeds: Sequence[int]
) -> list[str]:
    """Figure 2 in numbers."""
    rows = [
        (str(p.num_samples), over_seeds_text(p.statistics), number(p.oracle_error)) for p in curve
    ]
    last = curve[-1]
    return [
        f"{reference.error_name.capitalize()} of the selected cell after T samples, in percent, "
        "mean ± std over seeds: all replays of the same records.",
        "",
        *markdown_table(("T", "NASI", "*oracle*: best of T random architectures"), rows),
        "",
        TIED_NOTE,
        "",
        "### What needs no search",
        "",
        *markdown_table(
            ("", f"{reference.error_name}, %"), reference_rows(reference, last.num_samples)
        ),
        "",
        f"### Cells selected at T = {last.num_samples}",
        "",
        *selections_table(seeds, last.selections, reference),
    ]


def effectiveness_figure(
    curve: Sequence[Budget],
    reference: SpaceReference,
    *,
    title: str,
    seeds: Sequence[int],
) -> Figure:
    """Figure 2: error of the selected cell against the number of samples.

    Args:
        curve: Points of the curve.
        reference: Of the space.
        title: Says space and settings.
        seeds: In the order of the points' selections.
    """
    figure, (panel,) = new_figure(1, size=(7.4, 4.6))
    figure.suptitle(title, fontsize=10)
    _draw_curve(panel, curve, seeds)
    lines = (
        (reference.expected, ORANGE, "--", "random architecture, expected"),
        (reference.most_parameters[1], YELLOW, "--", "most parameters"),
        (reference.best, GREEN, ":", "space's best"),
    )
    for value, color, style, label in lines:
        panel.axhline(value, color=color, lw=1.4, ls=style, label=f"{label}: {value:.2f} %")
    panel.set_xlabel("Monte-Carlo samples T", fontsize=9)
    panel.set_ylabel(f"{reference.error_name} of the selected cell, %", fontsize=9)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    legend_below(panel)
    return figure


def _draw_curve(panel: Axes, curve: Sequence[Budget], seeds: Sequence[int]) -> None:
    budgets = [point.num_samples for point in curve]
    for position, _ in enumerate(seeds):
        chosen = [point.selections[position] for point in curve]
        errors = [math.nan if s.tied else s.error_percent for s in chosen]
        label = "NASI, each seed" if position == 0 else None
        panel.plot(budgets, errors, color="#9CC4E0", lw=0.8, label=label)
    mean = np.array([point.statistics.mean for point in curve])
    std = np.nan_to_num([point.statistics.std for point in curve])
    panel.fill_between(budgets, mean - std, mean + std, color=BLUE, alpha=0.15, lw=0)
    label = f"NASI, mean ± std of {len(seeds)} seeds"
    panel.plot(budgets, mean, color=BLUE, lw=2, marker="o", ms=3, label=label)
    oracle = [point.oracle_error for point in curve]
    label = "best of T random cells, picked by an oracle"
    panel.plot(budgets, oracle, color=PINK, lw=1.4, ls="-.", label=label)
