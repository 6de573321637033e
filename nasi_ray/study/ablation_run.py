"""The ablation: which searches it needs, and one variation after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nasi_ray.config import EstimateConfig, get_preset
from nasi_ray.errors import NasiRayError
from nasi_ray.spaces import get_space
from nasi_ray.study.ablation import Variation, vary
from nasi_ray.study.accuracies import Accuracies, SpaceReference, open_accuracies
from nasi_ray.study.markdown import ablation_lines
from nasi_ray.study.outcome import (
    Outcome,
    describe_settings,
    error_name,
    reference_result,
)
from nasi_ray.study.searches import RunSource, Searches, resolve_mode
from nasi_ray.study.settings import AblationStudy
from nasi_ray.study.text import MODE_NAMES, plain
from nasi_ray.study.tradeoff_figures import ablation_figure


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """A variation that is to be made."""

    factor: str
    value: str
    is_base: bool
    searches: Searches
    estimate: EstimateConfig


def run_ablation(study: AblationStudy, source: RunSource) -> Outcome:
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
    name = error_name(accuracies)
    mode = resolve_mode(study.mode, settings.samples)
    space = settings.samples.space
    title = f"{space}, {MODE_NAMES[mode]}: base {describe_settings(settings)}"
    title += f", {len(settings.seeds)} seeds"
    stem = f"ablation-{space}"
    return Outcome(
        name=stem,
        title=f"Ablation on {space}, {MODE_NAMES[mode]}",
        metrics={space: accuracies.metric.describe()},
        result={
            "mode": mode,
            "variations": [dataclasses.asdict(variation) for variation in variations],
            "reference": reference_result(reference, settings.estimate.num_samples),
        },
        lines=ablation_lines(variations, reference, error_name=name),
        figures={stem: ablation_figure(variations, reference, title=title, error_name=name)},
    )


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
    except NasiRayError as error:
        # Its subclasses are of causes outside the samples: settings, storage, workers, a stop.
        if type(error) is not NasiRayError:
            raise
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
