"""Presets side by side: the cells they select, with and without a limit on the network's size."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.config import PATH, EstimateConfig, get_preset
from nasi_ray.display.tables import markdown_table
from nasi_ray.nasi.estimates import architecture_of, make_estimate
from nasi_ray.nasi.estimator import margins
from nasi_ray.records.rows import SearchRecords
from nasi_ray.spaces.base import Architecture
from nasi_ray.statistics import coefficient, partial_spearman
from nasi_ray.study.accuracies import SpaceReference, sampled_architectures
from nasi_ray.study.outcome import Outcome
from nasi_ray.study.searches import RunSource
from nasi_ray.study.settings import Mode, PresetsStudy
from nasi_ray.study.text import MODE_NAMES, number, reference_rows
from nasi_ray.tables.accuracies import Accuracies, open_accuracies

BUDGETS = (0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
"""Quantiles of the parameters of the space's configurations that limit the size of a cell."""
_NUM_DRAWS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class PresetResult:
    """What one preset selects with each seed."""

    architectures: tuple[str, ...]
    """Without a limit, in the table's notation."""
    errors: tuple[float, ...]
    """Of these, percent."""
    budget_errors: tuple[tuple[float, ...], ...]
    """Per quantile of ``BUDGETS``: the error with each seed."""
    probability: float
    """Mean probability that another seed decides alike (``Margin.probability``)."""
    agreement: float
    """How often two seeds take the same in a decision."""
    cpu_seconds: float
    """Mean time of a seed's samples."""


def run(study: PresetsStudy, source: RunSource) -> Outcome:
    """Search every space with every preset, in each data mode.

    Raises:
        NasiRayError: Whatever a user can cause; what was computed is stored.
    """
    settings = study.settings
    spaces = tuple(dict.fromkeys(study.spaces or (settings.samples.space,)))
    found = {s: open_accuracies(s, settings.table, settings.metric) for s in spaces}
    lines, result = [_NOTE, ""], {}
    for space, accuracies in found.items():
        reference = SpaceReference(accuracies)
        limits = np.quantile(reference.num_params, BUDGETS)
        by_mode: dict[str, dict[str, PresetResult]] = {}
        correlations: dict[str, dict[str, tuple[float, float]]] = {}
        for mode in study.modes:
            by_mode[mode] = {}
            for preset in study.presets:
                records = _records(study, source, space, mode, preset)
                estimate = get_preset(preset).estimate
                by_mode[mode][preset] = _judge(
                    records, estimate, accuracies, limits, settings.seeds
                )
                measured = [r for r in records if PATH in r.measurements]
                if measured and mode not in correlations:
                    correlations[mode] = correlate(measured, accuracies)
        lines += preset_lines(space, by_mode, reference, limits)
        lines += correlation_lines(space, correlations, reference)
        result[space] = {
            "modes": by_mode,
            "reference": reference.to_json(settings.estimate.num_samples),
            "budgets": _references(reference, limits),
            "correlations": correlations,
        }
    return Outcome(
        name="presets",
        title="Presets, budgets, and what each measurement tells",
        metrics={space: accuracies.metric.describe() for space, accuracies in found.items()},
        result=result,
        lines=lines,
    )


_NOTE = (
    "Errors of the selected cells over seeds: mean ± standard deviation (worst), in percent. "
    "*Stands*: mean probability, by bootstrap of the samples, that another seed decides alike; "
    "*agree*: how often two seeds take the same. Most parameters: the mean over the cells that "
    "have the most under the limit. No label is used by a preset whose objective is made of "
    "measurements, so random labels give the same as true ones."
)


def _records(
    study: PresetsStudy, source: RunSource, space: str, mode: Mode, preset: str
) -> list[SearchRecords]:
    found = get_preset(preset)
    samples = dataclasses.replace(
        study.settings.samples,
        **{name: getattr(found.samples, name) for name in _SET_BY_PRESETS},
        space=space,
    )
    return source.records(source.plan(samples, mode, [found.estimate]), found.estimate)


_SET_BY_PRESETS = (
    "init",
    "init_per",
    "batch_norm",
    "init_channels",
    "num_cells",
    "batch_size",
    "image_size",
)


def _judge(
    records: Sequence[SearchRecords],
    config: EstimateConfig,
    accuracies: Accuracies,
    limits: FloatArray,
    seeds: Sequence[int],
) -> PresetResult:
    space = accuracies.space

    def select(one: SearchRecords, seed: int, limit: float | None) -> Architecture:
        asked = dataclasses.replace(config, max_params=limit)
        settings = {"seed": seed, "temperature": 1.0}
        return architecture_of(
            make_estimate(one, space, asked, settings, num_draws=0), space, asked
        )

    def errors(architectures: Sequence[Any]) -> tuple[float, ...]:
        return tuple(accuracies.errors_percent(architectures).tolist())

    pairs = list(zip(records, seeds, strict=True))
    cells = [select(one, seed, None) for one, seed in pairs]
    probabilities, firsts = [], []
    for one, seed in pairs:
        settings = {"seed": seed, "temperature": 1.0}
        result = make_estimate(one, space, config, settings, num_draws=_NUM_DRAWS)
        probabilities += [margin.probability for margin in margins(result, space).values()]
        firsts.append(result.position)
    return PresetResult(
        architectures=tuple(cell.to_string() for cell in cells),
        errors=errors(cells),
        budget_errors=tuple(
            errors([select(one, seed, float(limit)) for one, seed in pairs]) for limit in limits
        ),
        probability=float(np.mean(probabilities)),
        agreement=_agreement(np.array(firsts)),
        cpu_seconds=float(np.mean([_seconds(one) for one in records])),
    )


def _agreement(positions: FloatArray) -> float:
    """Share of (decision, two seeds) with the same option; NaN with one seed."""
    pairs = [(positions[i] == positions[j]).mean() for i in range(len(positions)) for j in range(i)]
    return float(np.mean(pairs)) if pairs else float("nan")


def _seconds(records: SearchRecords) -> float:
    tables = [*records.measurements.values()]
    total = sum(float(table.seconds.sum()) for table in tables)
    return total + (0.0 if records.samples is None else float(records.samples.seconds.sum()))


def correlate(
    records: Sequence[SearchRecords], accuracies: Accuracies
) -> dict[str, tuple[float, float]]:
    """Signed Spearman correlation of each measurement with accuracy, and beyond size.

    Args:
        records: One a seed; coefficients are computed within each and averaged.
        accuracies: Of their space.

    Returns:
        Measurement -> the correlation with minus the error, and the partial one with the number of
        parameters of the final network held fixed.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for one in records:
        table = one.measurements[PATH]
        cells = sampled_architectures(table.choices[table.ok], accuracies.space)
        accuracy = -accuracies.errors_percent(cells)
        size = np.array([cell.num_params() for cell in cells], dtype=np.float64)
        columns = {name: column[table.ok] for name, column in table.values.items()}
        columns["scale_free_trace_norm"] = (
            columns["relative_trace_norm"] / columns["logit_variance"]
        )
        columns["num_params"] = size
        for name, column in columns.items():
            there = np.isfinite(column)
            x, y, given = column[there], accuracy[there], size[there]
            beyond = float("nan") if name == "num_params" else partial_spearman(x, y, given)
            found.setdefault(name, []).append((coefficient(x, y, "spearman"), beyond))
    return {
        name: (float(np.mean([a for a, _ in both])), float(np.mean([b for _, b in both])))
        for name, both in found.items()
    }


def _references(reference: SpaceReference, limits: FloatArray) -> dict[str, list[float]]:
    """Per limit: the error of most parameters (mean over ties), of the best, and at random."""
    errors, params = reference.errors, reference.num_params
    rows: dict[str, list[float]] = {"most parameters": [], "best": [], "random": []}
    for limit in limits:
        fits = params <= limit
        rows["most parameters"].append(float(errors[fits & (params == params[fits].max())].mean()))
        rows["best"].append(float(errors[fits].min()))
        rows["random"].append(float(errors[fits].mean()))
    return rows


def preset_lines(
    space: str,
    by_mode: Mapping[str, Mapping[str, PresetResult]],
    reference: SpaceReference,
    limits: FloatArray,
) -> list[str]:
    """One space's tables of presets and of limits."""
    rows = [
        (
            f"{preset}, {MODE_NAMES[mode]}",
            _over_seeds(found.errors),
            str(len(found.errors)),
            number(found.probability),
            number(found.agreement),
            f"{found.cpu_seconds:.0f}",
        )
        for mode, presets in by_mode.items()
        for preset, found in presets.items()
    ]
    rows += [(name, value, "", "", "", "") for name, value in reference_rows(reference, 800)]
    headings = (f"{reference.error_name}, %", "error", "seeds", "stands", "agree", "s a seed")
    lines = [
        f"## {space}",
        "",
        *markdown_table(headings, rows),
        "",
        f"### {space}: limited size",
        "",
    ]
    shares = [f"≤ {quantile:.0%}" for quantile in BUDGETS]
    budget_rows = [
        (f"{preset}, {MODE_NAMES[mode]}", *map(_over_seeds, found.budget_errors))
        for mode, presets in by_mode.items()
        for preset, found in presets.items()
    ]
    budget_rows += [
        (name, *map(number, values)) for name, values in _references(reference, limits).items()
    ]
    return [*lines, *markdown_table(("share of the parameters", *shares), budget_rows), ""]


def correlation_lines(
    space: str,
    correlations: Mapping[str, Mapping[str, tuple[float, float]]],
    reference: SpaceReference,
) -> list[str]:
    """One space's table of signed correlations."""
    if not correlations:
        return []
    names = list(next(iter(correlations.values())))
    rows = [(name, *(_both(by_name[name]) for by_name in correlations.values())) for name in names]
    headings = ("Spearman with accuracy / beyond size", *(MODE_NAMES[m] for m in correlations))
    return [f"### {space}: measurements of sampled cells", "", *markdown_table(headings, rows), ""]


def _both(pair: tuple[float, float]) -> str:
    return " / ".join(f"{value:+.2f}" if np.isfinite(value) else "–" for value in pair)


def _over_seeds(errors: Sequence[float]) -> str:
    values = np.array(errors)
    spread = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
    return f"{values.mean():.2f}{spread} ({values.max():.2f})"
