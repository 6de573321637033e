"""Table error against e of the sampled architectures (Figure 3); ``grid`` is Figure 4."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nasi_ray.arrays import FloatArray
from nasi_ray.config import EstimateConfig
from nasi_ray.display.figures import BLUE, GREEN, GREY, INK, legend_below, new_figure
from nasi_ray.display.tables import markdown_table
from nasi_ray.errors import ConfigError
from nasi_ray.statistics import Correlation, Kind, correlate_seeds, tenths
from nasi_ray.study.accuracies import SampledCells, SpaceReference, sampled_cells
from nasi_ray.study.effects import choice_effects, effect_lines
from nasi_ray.study.grid import constraint_grid, grid_figure, grid_lines
from nasi_ray.study.outcome import Outcome, describe_settings
from nasi_ray.study.searches import RunSource, resolve_mode
from nasi_ray.study.settings import TradeoffStudy
from nasi_ray.study.text import (
    INTERVAL_NOTE,
    MODE_NAMES,
    interval,
    number,
    per_seed,
    reference_line,
)
from nasi_ray.tables.accuracies import open_accuracies

NUM_GROUPS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A tenth of every seed's samples, by e."""

    mean_trace_norm: float
    mean_error: float
    """Percent."""
    std_error: float
    """Standard deviation of the errors in the group, percent."""
    mean_num_params: float
    num: int
    """Samples of all seeds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation:
    """How x goes with y over the sampled architectures, signed."""

    x: str
    y: str
    spearman: Correlation
    kendall: Correlation


def relations(seeds: Sequence[SampledCells]) -> tuple[Relation, ...]:
    """Rank correlations of e, number of parameters and error: positive if they grow together.

    Args:
        seeds: The samples of every seed.
    """
    columns = {
        "e": [s.trace_norm for s in seeds],
        "parameters": [s.num_params for s in seeds],
        "error": [s.error_percent for s in seeds],
    }

    def related(x: str, y: str, kind: Kind) -> Correlation:
        return correlate_seeds(list(zip(columns[x], columns[y], strict=True)), kind)

    pairs = (("e", "error"), ("parameters", "error"), ("e", "parameters"))
    return tuple(
        Relation(x=x, y=y, spearman=related(x, y, "spearman"), kendall=related(x, y, "kendall"))
        for x, y in pairs
    )


def groups_by_trace_norm(seeds: Sequence[SampledCells]) -> tuple[Group, ...]:
    """Group every seed's samples into tenths by e, and average over the seeds' groups.

    Groups are made within a seed, whose θ0 may set the scale of e.

    Args:
        seeds: The samples of every seed.

    Returns:
        From small to large e; fewer groups where a seed has fewer than ten samples.
    """
    num_groups = min(NUM_GROUPS, *(len(s.trace_norm) for s in seeds))
    members: list[list[tuple[float, float, float]]] = [[] for _ in range(num_groups)]
    for seed in seeds:
        groups = tenths(seed.trace_norm, num_groups=num_groups)
        for group, rows in zip(members, groups, strict=True):
            columns = (seed.trace_norm[rows], seed.error_percent[rows], seed.num_params[rows])
            group += zip(*(column.tolist() for column in columns), strict=True)
    return tuple(_group(np.array(rows)) for rows in members)


def run(study: TradeoffStudy, source: RunSource) -> Outcome:
    """Relate e, size and error of the sampled architectures, and search over ν and μ.

    Raises:
        NasiRayError: Whatever a user can cause; what was computed is stored.
    """
    settings, space = study.settings, study.settings.samples.space
    mode = resolve_mode(study.mode, settings.samples)
    estimates = _check_grid(study)
    accuracies = open_accuracies(space, settings.table, settings.metric)
    reference = SpaceReference(accuracies)
    tables = source.tables(source.plan(settings.samples, mode, estimates))
    num_samples, error_name = settings.estimate.num_samples, reference.error_name
    cells = [sampled_cells(table, num_samples, accuracies) for table in tables]
    related, groups = relations(cells), groups_by_trace_norm(cells)
    effects = choice_effects(tables, cells, num_samples, accuracies.space)
    points = constraint_grid(tables, settings.estimate, accuracies, nus=study.nus, mus=study.mus)
    name, title = f"tradeoff-{space}", describe_settings(settings, mode)
    relation = relation_figure(cells, groups, related[0], reference, title=title)
    grid = grid_figure(points, title=f"{title}, {len(settings.seeds)} seeds", error_name=error_name)
    return Outcome(
        name=name,
        title=f"Trade-off between complexity and error on {space}, {MODE_NAMES[mode]}",
        metrics={space: reference.metric},
        result={
            "mode": mode,
            "relations": related,
            "groups": groups,
            "effects": effects,
            "grid": points,
            "samples": cells,
            "reference": reference.to_json(num_samples),
        },
        lines=[
            *relation_lines(related, groups, reference),
            "",
            *effect_lines(effects, error_name=error_name),
            "",
            *grid_lines(points, error_name=error_name),
        ],
        figures={f"{name}-relation": relation, f"{name}-grid": grid},
    )


def relation_lines(
    relations: Sequence[Relation], groups: Sequence[Group], reference: SpaceReference
) -> list[str]:
    """Figure 3 in numbers."""
    error_name = reference.error_name
    signed = [
        (f"{r.x} and {r.y}", interval(r.spearman), per_seed(r.spearman), interval(r.kendall))
        for r in relations
    ]
    grouped = [
        (
            str(i),
            number(g.mean_trace_norm, 3),
            f"{g.mean_error:.2f} ± {g.std_error:.2f}",
            f"{g.mean_num_params / 1e6:.2f} M",
            str(g.num),
        )
        for i, g in enumerate(groups, start=1)
    ]
    return [
        "### Sampled architectures (Figure 3)",
        "",
        f"Signed rank correlations; *error* is {error_name}, so a negative sign between e and "
        "error means that larger e goes with better architectures.",
        "",
        *markdown_table(("of", "Spearman", "seeds", "Kendall τ-b"), signed),
        "",
        INTERVAL_NOTE,
        "",
        *markdown_table(
            ("tenth by e", "mean e", f"{error_name}, %: mean ± std", "parameters", "n"), grouped
        ),
        "",
        reference_line(reference),
    ]


def relation_figure(
    cells: Sequence[SampledCells],
    groups: Sequence[Group],
    relation: Relation,
    reference: SpaceReference,
    *,
    title: str,
) -> Figure:
    """Figure 3: error of the sampled architectures against their e.

    Args:
        cells: Samples of every seed.
        groups: Tenths by e.
        relation: Of e and error.
        reference: Of the space.
        title: Says space and settings.
    """
    figure, (panel,) = new_figure(1, size=(6.6, 5.2))
    figure.suptitle(title, fontsize=10)
    _draw_samples(panel, cells)
    _draw_groups(panel, groups)
    panel.axhline(reference.best, color=GREEN, ls=":", label="space's best")
    panel.axhline(reference.expected, color=GREY, ls="--", label="random architecture, expected")
    _scale_axes(panel, np.concatenate([known.error_percent for known in cells]))
    panel.set_xlabel(
        r"trace norm $e=\|\nabla_\theta L\|^2$ of the sampled architecture", fontsize=9
    )
    panel.set_ylabel(f"{reference.error_name}, %", fontsize=9)
    text = f"Spearman {interval(relation.spearman)}\nKendall {interval(relation.kendall)}"
    panel.text(0.98, 0.97, text, transform=panel.transAxes, va="top", ha="right", fontsize=8)
    legend_below(panel)
    return figure


def _draw_samples(panel: Axes, cells: Sequence[SampledCells]) -> None:
    # In one colour: which seed a sample is of does not matter, and ten colours hide each other.
    e = np.concatenate([known.trace_norm for known in cells])
    errors = np.concatenate([known.error_percent for known in cells])
    seeds = f"{len(cells)} seed{'s' * (len(cells) > 1)}"
    label = f"samples of {seeds}, n = {len(e)}"
    panel.scatter(e, errors, s=12, alpha=0.3, lw=0, color=BLUE, label=label)


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


def _check_grid(study: TradeoffStudy) -> list[EstimateConfig]:
    """Refuse what is no ν or μ before anything is evaluated; the estimates of the grid."""
    if not (study.nus and study.mus):
        raise ConfigError("the grid is empty; give --nus and --mus at least one value each")
    estimate = study.settings.estimate
    changed = [dataclasses.replace(estimate, nu=n, mu=m) for n in study.nus for m in study.mus]
    if study.settings.samples.sample_per != "step":
        raise ConfigError(
            "sample_per is 'cell', so a sample has several different cells and the table cannot "
            "give its accuracy; use --sample-per step"
        )
    return [estimate, *changed]


def _group(rows: FloatArray) -> Group:
    e, error, num_params = rows.T
    return Group(
        mean_trace_norm=float(e.mean()),
        mean_error=float(error.mean()),
        std_error=float(error.std()),
        mean_num_params=float(num_params.mean()),
        num=len(rows),
    )
