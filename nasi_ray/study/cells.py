"""What the seeds of a search select, and their consensus: for spaces with or without a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasi_ray.config import EstimateConfig
from nasi_ray.display.tables import markdown_table
from nasi_ray.nasi.consensus import consensus_of
from nasi_ray.nasi.estimates import NUM_DRAWS, architecture_of, make_estimate
from nasi_ray.nasi.estimator import Estimate, kept_margins
from nasi_ray.records.rows import SearchRecords
from nasi_ray.spaces import Genotype, get_space
from nasi_ray.spaces.base import Architecture, SearchSpace
from nasi_ray.statistics import SIGNIFICANT_AT
from nasi_ray.study.outcome import Outcome
from nasi_ray.study.searches import RunSource, resolve_mode
from nasi_ray.study.selection import tied
from nasi_ray.study.settings import CellsStudy
from nasi_ray.study.text import MODE_NAMES, tied_text


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectedCell:
    """The cell that one estimate selects."""

    fields: dict[str, Any]
    """What names it, as in ``result.json``."""
    num_params: int | None
    """Of the benchmark's own network; None where the space has none."""
    tied: tuple[str, ...]
    """Decisions in which the last candidate taken and the first left out tie, so that the order in
    which candidates are listed decides, and not the samples."""
    num_significant: int | None
    """Decisions with a margin of at least ``SIGNIFICANT_AT`` standard errors; None where there is
    no standard error (the consensus of one seed, a search of one sample)."""
    num_decisions: int
    """Decisions in which something is left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectedCells:
    """The cells of all seeds."""

    cells: tuple[SelectedCell, ...]
    """One per seed."""
    consensus: SelectedCell
    """Of the seeds' mean score, or mean α*; its standard errors are of the spread over seeds."""


def select_cells(
    records: Mapping[int, SearchRecords],
    config: EstimateConfig,
    space: SearchSpace,
    *,
    temperature: float = 1.0,
) -> SelectedCells:
    """Replay the searches of all seeds.

    Args:
        records: Of each seed (at least one).
        config: Settings of the estimate.
        space: Of the records.
        temperature: Of the straight-through surrogate that the samples were made with.

    Raises:
        NoGoodSamplesError: If no sample of a seed is good.
        ConfigError: If no cell fits the budget.
    """
    # α* of a gradient has standard errors without draws.
    num_draws = 0 if config.needs_gradient else NUM_DRAWS
    results = [
        make_estimate(
            one, space, config, {"seed": seed, "temperature": temperature}, num_draws=num_draws
        )
        for seed, one in records.items()
    ]
    together = consensus_of(results, space, config)
    return SelectedCells(
        cells=tuple(_cell(one, architecture_of(one, space, config), space) for one in results),
        consensus=_cell(together.estimate, together.architecture, space),
    )


def run(study: CellsStudy, source: RunSource) -> Outcome:
    """Select a cell a seed, and the consensus.

    Raises:
        NasiRayError: Whatever a user can cause; what was computed is stored.
    """
    settings, name = study.settings, study.settings.samples.space
    space = get_space(name)
    mode = resolve_mode(study.mode, settings.samples)
    searches = source.plan(settings.samples, mode, [settings.estimate])
    records = dict(zip(settings.seeds, source.records(searches, settings.estimate), strict=True))
    temperature = settings.samples.temperature
    found = select_cells(records, settings.estimate, space, temperature=temperature)
    return Outcome(
        name=f"cells-{name}",
        title=f"Selected cells of {name}, {MODE_NAMES[mode]}",
        result={"mode": mode, "cells": found.cells, "consensus": found.consensus},
        lines=cells_lines(found, seeds=settings.seeds),
    )


def cells_lines(found: SelectedCells, *, seeds: Sequence[int]) -> list[str]:
    """The cells of the seeds, and their consensus."""
    named = [*((str(seed), c) for seed, c in zip(seeds, found.cells, strict=True))]
    named.append(("consensus", found.consensus))
    rows = [
        (
            name,
            f"`{_cell_text(cell)}`",
            f"`{cell.fields['hash']}`" if "hash" in cell.fields else "–",
            "–" if cell.num_params is None else f"{cell.num_params:,}",
            _significant_text(cell),
        )
        for name, cell in named
    ]
    return [
        "*Significant*: the last candidate kept and the first left out are at least "
        f"{SIGNIFICANT_AT:g} standard errors apart. *Consensus*: the cell of the seeds' mean "
        "score or, of a gradient, mean α*; its standard errors are of the spread over seeds.",
        "",
        *markdown_table(("seed", "cell", "hash", "parameters", "significant decisions"), rows),
    ]


def _significant_text(cell: SelectedCell) -> str:
    if cell.tied or cell.num_significant is None:
        return tied_text(cell.tied) or "–"
    return f"{cell.num_significant} of {cell.num_decisions}"


def _cell_text(cell: SelectedCell) -> str:
    genotype = cell.fields.get("genotype")
    if genotype is None:
        return str(cell.fields["architecture"])
    return Genotype.from_dict(genotype).to_darts()


def _cell(result: Estimate, architecture: Architecture, space: SearchSpace) -> SelectedCell:
    margins = kept_margins(result, space)
    is_known = all(math.isfinite(m.standard_error) for m in margins.values())
    significant = [
        m.value > 0 and m.value >= SIGNIFICANT_AT * m.standard_error for m in margins.values()
    ]
    return SelectedCell(
        fields=architecture.fields(),
        num_params=architecture.num_params(),
        tied=tied(margins),
        num_significant=sum(significant) if is_known else None,
        num_decisions=len(margins),
    )
