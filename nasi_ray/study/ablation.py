"""One setting changed at a time: what it does to the selected cells and to e (App. C.6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from nasi_ray.config import EstimateConfig, get_preset
from nasi_ray.display.figures import GREEN, GREY, color_of, legend_below, new_figure
from nasi_ray.display.tables import markdown_table
from nasi_ray.errors import NoGoodSamplesError
from nasi_ray.records.rows import SampleTable
from nasi_ray.spaces import get_space
from nasi_ray.statistics import Correlation, correlate_seeds
from nasi_ray.study.accuracies import SpaceReference, sampled_cells
from nasi_ray.study.outcome import Outcome, describe_settings
from nasi_ray.study.searches import RunSource, Searches, resolve_mode
from nasi_ray.study.selection import SeedStatistics, Selection, over_seeds, replay
from nasi_ray.study.settings import AblationStudy
from nasi_ray.study.text import (
    INTERVAL_NOTE,
    MODE_NAMES,
    TIED_NOTE,
    interval,
    over_seeds_text,
    plain,
    reference_line,
)
from nasi_ray.tables.accuracies import Accuracies, open_accuracies


@dataclass(frozen=True, kw_only=True, slots=True)
class Variation:
    """The searches of all seeds with one setting changed."""

    factor: str
    value: str
    is_base: bool
    """Whether the value is that of the base settings."""
    selections: tuple[Selection, ...] = ()
    """One per seed."""
    statistics: SeedStatistics | None = None
    spearman: Correlation | None = None
    """Of e and the table's error over the samples; None where every cell draws its own, so that a
    sample is no cell of the table."""
    median_trace_norm: float = float("nan")
    """Of the seeds' medians of e, the mean."""
    share_penalised: float = float("nan")
    """Mean over the seeds of the share of samples with e > ν."""
    failure: str = ""
    """Why there is no result; empty where there is one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """A variation that is to be made."""

    factor: str
    value: str
    is_base: bool
    searches: Searches
    estimate: EstimateConfig


def run(study: AblationStudy, source: RunSource) -> Outcome:
    """Change one setting at a time.

    A variation whose samples all fail is reported as failed; whatever else goes wrong ends the
    study, as it would end a search.

    Raises:
        NasiRayError: Whatever a user can cause; what was computed is stored.
    """
    settings = study.settings
    accuracies = open_accuracies(settings.samples.space, settings.table, settings.metric)
    plans = list(_plans(study, source))  # all settings are checked before anything is evaluated
    reference = SpaceReference(accuracies)
    variations = [_variation(plan, source, accuracies) for plan in plans]
    mode = resolve_mode(study.mode, settings.samples)
    space = settings.samples.space
    title = f"{describe_settings(settings, mode, 'base ')}, {len(settings.seeds)} seeds"
    name = f"ablation-{space}"
    return Outcome(
        name=name,
        title=f"Ablation on {space}, {MODE_NAMES[mode]}",
        metrics={space: reference.metric},
        result={
            "mode": mode,
            "variations": variations,
            "reference": reference.to_json(settings.estimate.num_samples),
        },
        lines=ablation_lines(variations, reference),
        figures={name: ablation_figure(variations, reference, title=title)},
    )


def vary(
    factor: str,
    value: str,
    tables: Sequence[SampleTable],
    config: EstimateConfig,
    accuracies: Accuracies,
    *,
    is_base: bool,
    is_one_cell: bool,
) -> Variation:
    """Replay the searches of one variation.

    Args:
        factor: Name of the setting that is changed.
        value: What it is changed to.
        tables: Records, one table a seed.
        config: Settings of the estimate.
        accuracies: Of the records' space.
        is_base: Whether this is the base setting.
        is_one_cell: Whether a sample is one cell of the table.

    Raises:
        NoGoodSamplesError: If no sample of a seed is good.
    """
    selections = tuple(replay(table, config, accuracies) for table in tables)
    used = [table.below(config.num_samples) for table in tables]
    medians = [np.median(table.trace_norm[table.ok]) for table in used]
    return Variation(
        factor=factor,
        value=value,
        is_base=is_base,
        selections=selections,
        statistics=over_seeds(selections),
        spearman=_spearman(tables, config, accuracies) if is_one_cell else None,
        median_trace_norm=float(np.mean(medians)),
        share_penalised=float(np.mean([s.share_penalised for s in selections])),
    )


def ablation_lines(variations: Sequence[Variation], reference: SpaceReference) -> list[str]:
    """Appendix C.6 in numbers."""
    rows = [
        (
            v.factor,
            v.value + (" (base)" if v.is_base else ""),
            over_seeds_text(v.statistics) if v.statistics else f"failed: {v.failure}",
            interval(v.spearman),
            f"{v.median_trace_norm:.3g}" if v.statistics else "–",
            f"{100 * v.share_penalised:.0f} %" if v.statistics else "–",
        )
        for v in variations
    ]
    headings = (
        "setting",
        "value",
        f"{reference.error_name} of the selected cells, %",
        "Spearman of e and error",
        "median e",
        "samples with e > ν",
    )
    return [
        "One setting at a time is changed from the base; a *rule* replaces the whole estimate (T, "
        "FIX or ADA, ν, μ, normalisation) by that of a preset. A fixed ν means something else "
        "where the scale of e has changed: see the last two columns.",
        "",
        *markdown_table(headings, rows),
        "",
        reference_line(reference),
        "",
        TIED_NOTE,
        "",
        INTERVAL_NOTE,
    ]


def ablation_figure(
    variations: Sequence[Variation], reference: SpaceReference, *, title: str
) -> Figure:
    """Error of the selected cells, a line per variation.

    Args:
        variations: All of them.
        reference: Of the space.
        title: Says space and settings.
    """
    figure, (panel,) = new_figure(1, size=(7.6, 0.235 * len(variations) + 1.5))
    figure.suptitle(title, fontsize=10)
    factors = list(dict.fromkeys(v.factor for v in variations))
    for y, variation in enumerate(variations):
        color = color_of(factors.index(variation.factor))
        errors = [s.error_percent for s in variation.selections if not s.tied]
        panel.scatter(errors, [y] * len(errors), s=12, color=color, alpha=0.5, lw=0)
        if variation.statistics is not None and variation.statistics.num:
            panel.plot(variation.statistics.mean, y, marker="|", ms=11, mew=2.2, color=color)
        else:
            where = panel.get_yaxis_transform()
            panel.text(0.5, y, "tied or failed", transform=where, va="center", fontsize=7)
    panel.axvline(reference.expected, color=GREY, ls="--", label="random architecture, expected")
    panel.axvline(reference.best, color=GREEN, ls=":", label="space's best")
    names = [f"{v.factor} = {v.value}{' (base)' if v.is_base else ''}" for v in variations]
    panel.set_yticks(range(len(names)), names, fontsize=7.5)
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.set_xlabel(
        f"{reference.error_name} of the selected cells, %: each seed, and their mean", fontsize=9
    )
    legend_below(panel)
    return figure


def _variation(plan: _Plan, source: RunSource, accuracies: Accuracies) -> Variation:
    try:
        return vary(
            plan.factor,
            plan.value,
            source.tables(plan.searches),
            plan.estimate,
            accuracies,
            is_base=plan.is_base,
            is_one_cell=plan.searches.samples.sample_per == "step",
        )
    except NoGoodSamplesError as error:
        return Variation(
            factor=plan.factor, value=plan.value, is_base=plan.is_base, failure=str(error)
        )


def _plans(study: AblationStudy, source: RunSource) -> Iterator[_Plan]:
    settings = study.settings
    mode = resolve_mode(study.mode, settings.samples)
    estimates = list(_estimates(study))
    answered = [settings.estimate, *(estimate for _, _, estimate in estimates)]
    base = source.plan(settings.samples, mode, answered)
    for factor, values in _sample_factors(study).items():
        base_value = _base_value(study, factor)
        for value in _with_base(values, base_value):
            is_base = value == base_value
            changed = {} if is_base else {factor: value}
            samples = dataclasses.replace(settings.samples, **changed)
            searches = base if is_base else source.plan(samples, mode, [settings.estimate])
            yield _Plan(
                factor=factor,
                value=str(value),
                is_base=is_base,
                searches=searches,
                estimate=settings.estimate,
            )
    for factor, value, estimate in estimates:
        yield _Plan(
            factor=factor,
            value=plain(value),
            is_base=estimate == settings.estimate,
            searches=base,
            estimate=estimate,
        )


def _sample_factors(study: AblationStudy) -> dict[str, tuple[Any, ...]]:
    return {
        "init": study.init_values,
        "init_per": study.init_per_values,
        "init_channels": study.init_channels_values,
        "num_cells": study.num_cells_values,
        "batch_size": study.batch_size_values,
        "sample_per": study.sample_per_values,
        "batch_norm": study.batch_norm_values,
        "loss": study.loss_values,
    }


def _base_value(study: AblationStudy, factor: str) -> Any:
    samples = study.settings.samples
    if factor == "num_cells":
        return get_space(samples.space).resolve_num_cells(samples.num_cells)
    if factor == "batch_norm" and samples.batch_norm == "auto":
        return "affine"  # of every space that has a table
    return getattr(samples, factor)


def _with_base(values: Sequence[Any], base: Any) -> list[Any]:
    return list(dict.fromkeys([*values, base])) if values else []


def _estimates(study: AblationStudy) -> Iterator[tuple[str, Any, EstimateConfig]]:
    """Setting, value and estimate, of every variation of the estimate."""
    base = study.settings.estimate
    factors: dict[str, tuple[Any, ...]] = {
        "num_samples": tuple(n for n in study.num_samples_values if n <= base.num_samples),
        "nu": study.nu_values,
        "mu": study.mu_values,
        "normalize": study.normalize_values,
    }
    for factor, values in factors.items():
        for value in _with_base(values, getattr(base, factor)):
            yield factor, value, dataclasses.replace(base, **{factor: value})
    for preset in study.rule_values:
        rule = get_preset(preset).estimate
        num_samples = min(rule.num_samples, base.num_samples)
        yield "rule", preset, dataclasses.replace(rule, num_samples=num_samples)


def _spearman(
    tables: Sequence[SampleTable], config: EstimateConfig, accuracies: Accuracies
) -> Correlation:
    cells = [sampled_cells(table, config.num_samples, accuracies) for table in tables]
    return correlate_seeds([(c.trace_norm, c.error_percent) for c in cells], "spearman")
