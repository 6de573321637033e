"""The study job: searches on spaces with a table of accuracies -> figures, tables and numbers."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from nasi_ray.config import EstimateConfig
from nasi_ray.errors import ConfigError
from nasi_ray.progress import Progress
from nasi_ray.records.rows import SampleTable
from nasi_ray.run.provenance import machine, versions
from nasi_ray.spaces import get_space, get_tabular_space
from nasi_ray.study.ablation_run import run_ablation
from nasi_ray.study.accuracies import (
    SpaceReference,
    open_accuracies,
    sampled_cells,
)
from nasi_ray.study.agnosticism import compare_modes
from nasi_ray.study.cells import select_cells
from nasi_ray.study.comparison import ModeResult, search_all
from nasi_ray.study.effectiveness import budgets, search_curve
from nasi_ray.study.effects import choice_effects
from nasi_ray.study.figures import agnostic_figure, effectiveness_figure
from nasi_ray.study.markdown import (
    TABLE2_NOTE,
    agnostic_lines,
    cells_lines,
    effectiveness_lines,
    table2_lines,
)
from nasi_ray.study.outcome import (
    Outcome,
    about_runs,
    describe_settings,
    error_name,
    reference_result,
    write_outcome,
)
from nasi_ray.study.searches import RunSource, resolve_mode, run_source
from nasi_ray.study.settings import (
    MODES,
    AgnosticStudy,
    CellsStudy,
    EffectivenessStudy,
    Mode,
    StudyJob,
    StudySettings,
    Table2Study,
    TradeoffStudy,
)
from nasi_ray.study.text import MODE_NAMES
from nasi_ray.study.tradeoff import constraint_grid, groups_by_trace_norm, relations
from nasi_ray.study.tradeoff_figures import grid_figure, relation_figure
from nasi_ray.study.tradeoff_markdown import tradeoff_lines


def run_study(
    study: StudyJob, progress: Progress, *, command: str
) -> tuple[dict[str, Any], list[str]]:
    """Run, continue or replay the searches of a study, analyse them, and write the outcome.

    Args:
        study: Settings.
        progress: Display; not closed here.
        command: The command line, for the record.

    Returns:
        The content of the JSON file, and the names of the files written to ``out``.

    Raises:
        NasiRayError: Whatever a user can cause; what was computed is stored.
    """
    start = time.perf_counter()
    with run_source(study.settings, progress) as source:
        outcome = _outcome(study, source)
        about = {
            "settings": dataclasses.asdict(study),
            "command": command,
            "seeds": study.settings.seeds,
            "metrics": dict(outcome.metrics),
            "versions": versions(),
            "machine": machine(),
            "seconds": time.perf_counter() - start,
            **about_runs(source),
        }
    return write_outcome(outcome, study.settings, about)


def _outcome(study: StudyJob, source: RunSource) -> Outcome:
    if isinstance(study, AgnosticStudy):
        return _agnostic(study, source)
    if isinstance(study, EffectivenessStudy):
        return _effectiveness(study, source)
    if isinstance(study, TradeoffStudy):
        return _tradeoff(study, source)
    if isinstance(study, Table2Study):
        return _table2(study, source)
    if isinstance(study, CellsStudy):
        return _cells(study, source)
    return run_ablation(study, source)


def _agnostic(study: AgnosticStudy, source: RunSource) -> Outcome:
    settings, space = study.settings, study.settings.samples.space
    get_tabular_space(space)
    tables = _all_modes(settings, space, source)
    num_samples = settings.estimate.num_samples
    agreements = {
        mode: compare_modes(tables["true"], tables[mode], num_samples)
        for mode in ("random-labels", "random-data")
    }
    name, title = f"agnostic-{space}", f"{space}: {describe_settings(settings)}"
    return Outcome(
        name=name,
        title=f"Label- and data-agnosticism on {space}",
        metrics={},
        result={mode: dataclasses.asdict(found) for mode, found in agreements.items()},
        lines=agnostic_lines(agreements),
        figures={name: agnostic_figure(agreements, title=title, seeds=settings.seeds)},
    )


def _effectiveness(study: EffectivenessStudy, source: RunSource) -> Outcome:
    settings, space = study.settings, study.settings.samples.space
    mode = resolve_mode(study.mode, settings.samples)
    budgets(settings.estimate.num_samples, study.step)
    accuracies = open_accuracies(space, settings.table, settings.metric)
    reference = SpaceReference(accuracies)
    tables = source.tables(source.plan(settings.samples, mode, [settings.estimate]))
    curve = search_curve(tables, settings.estimate, accuracies, reference, step=study.step)
    name, error = f"effectiveness-{space}", error_name(accuracies)
    title = f"{space}, {MODE_NAMES[mode]}: {describe_settings(settings)}"
    return Outcome(
        name=name,
        title=f"Search effectiveness on {space}, {MODE_NAMES[mode]}",
        metrics={space: accuracies.metric.describe()},
        result={
            "mode": mode,
            "curve": [dataclasses.asdict(point) for point in curve],
            "reference": reference_result(reference, settings.estimate.num_samples),
        },
        lines=effectiveness_lines(curve, reference, error_name=error, seeds=settings.seeds),
        figures={
            name: effectiveness_figure(
                curve, reference, title=title, error_name=error, seeds=settings.seeds
            )
        },
    )


def _tradeoff(study: TradeoffStudy, source: RunSource) -> Outcome:
    settings, space = study.settings, study.settings.samples.space
    mode = resolve_mode(study.mode, settings.samples)
    estimates = _check_grid(study)
    accuracies = open_accuracies(space, settings.table, settings.metric)
    reference = SpaceReference(accuracies)
    tables = source.tables(source.plan(settings.samples, mode, estimates))
    cells = [sampled_cells(t, settings.estimate.num_samples, accuracies) for t in tables]
    related, groups = relations(cells), groups_by_trace_norm(cells)
    effects = choice_effects(tables, cells, settings.estimate.num_samples, accuracies.space)
    points = constraint_grid(tables, settings.estimate, accuracies, nus=study.nus, mus=study.mus)
    name, error = f"tradeoff-{space}", error_name(accuracies)
    title = f"{space}, {MODE_NAMES[mode]}: {describe_settings(settings)}"
    relation = relation_figure(
        cells, groups, related[0], reference, title=title, error_name=error, seeds=settings.seeds
    )
    grid = grid_figure(points, title=f"{title}, {len(settings.seeds)} seeds", error_name=error)
    return Outcome(
        name=name,
        title=f"Trade-off between complexity and error on {space}, {MODE_NAMES[mode]}",
        metrics={space: accuracies.metric.describe()},
        result={
            "mode": mode,
            "relations": [dataclasses.asdict(relation) for relation in related],
            "groups": [dataclasses.asdict(group) for group in groups],
            "effects": [dataclasses.asdict(effect) for effect in effects],
            "grid": [dataclasses.asdict(point) for point in points],
            "samples": [dataclasses.asdict(known) for known in cells],
            "reference": reference_result(reference, settings.estimate.num_samples),
        },
        lines=tradeoff_lines(related, groups, effects, points, reference, error_name=error),
        figures={f"{name}-relation": relation, f"{name}-grid": grid},
    )


def _check_grid(study: TradeoffStudy) -> list[EstimateConfig]:
    """Refuse what is no ν or μ before anything is evaluated; the estimates of the grid."""
    if not (study.nus and study.mus):
        raise ConfigError("the grid is empty; give --nus and --mus at least one value each")
    estimate = study.settings.estimate
    changed = [dataclasses.replace(estimate, nu=n, mu=m) for n in study.nus for m in study.mus]
    if study.settings.samples.sample_per != "step":
        raise ConfigError(
            "sample_per is 'cell', so a sample is no single cell of the table; use "
            "--sample-per step"
        )
    return [estimate, *changed]


def _table2(study: Table2Study, source: RunSource) -> Outcome:
    settings = study.settings
    spaces = tuple(dict.fromkeys(study.spaces or (settings.samples.space,)))
    found = {s: open_accuracies(s, settings.table, settings.metric) for s in spaces}
    num_samples = settings.estimate.num_samples
    lines, result = [TABLE2_NOTE, ""], {}
    for space, accuracies in found.items():
        tables = _all_modes(settings, space, source)
        modes: dict[str, ModeResult] = {
            m: search_all(t, settings.estimate, accuracies) for m, t in tables.items()
        }
        reference = SpaceReference(accuracies)
        lines += table2_lines(
            space,
            modes,
            reference,
            num_samples=num_samples,
            error_name=error_name(accuracies),
            seeds=settings.seeds,
        )
        result[space] = {
            "modes": {mode: dataclasses.asdict(entry) for mode, entry in modes.items()},
            "reference": reference_result(reference, num_samples),
        }
    return Outcome(
        name="table2",
        title="Searches on true labels, random labels and random data",
        metrics={space: accuracies.metric.describe() for space, accuracies in found.items()},
        result=result,
        lines=lines,
    )


def _cells(study: CellsStudy, source: RunSource) -> Outcome:
    settings, name = study.settings, study.settings.samples.space
    space = get_space(name)
    mode = resolve_mode(study.mode, settings.samples)
    tables = source.tables(source.plan(settings.samples, mode, [settings.estimate]))
    found = select_cells(tables, settings.estimate, space)
    return Outcome(
        name=f"cells-{name}",
        title=f"Selected cells of {name}, {MODE_NAMES[mode]}",
        metrics={},
        result={"mode": mode, **dataclasses.asdict(found)},
        lines=cells_lines(found, seeds=settings.seeds),
    )


def _all_modes(
    settings: StudySettings, space: str, source: RunSource
) -> dict[Mode, list[SampleTable]]:
    """The records of all data modes; random data have as many classes as the data set."""
    samples = dataclasses.replace(settings.samples, space=space)
    plans = {mode: source.plan(samples, mode, [settings.estimate]) for mode in MODES}
    tables: dict[Mode, list[SampleTable]] = {}
    for mode in MODES:
        tables[mode] = source.tables(plans[mode])
        num_classes = source.num_classes(plans[mode])
        if num_classes != samples.num_classes:
            raise ConfigError(
                f"{samples.data} has {num_classes} classes, and random data would have "
                f"{samples.num_classes}; add --num-classes {num_classes}"
            )
    return tables
