"""Searches on true labels, random labels and random data beside what needs no search (Table 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nasi_ray.config import EstimateConfig
from nasi_ray.display.tables import markdown_table
from nasi_ray.records.rows import SampleTable
from nasi_ray.study.accuracies import SpaceReference
from nasi_ray.study.outcome import Outcome
from nasi_ray.study.published import NB201_TEST_ERROR, RERUNS, paper_error
from nasi_ray.study.searches import RunSource
from nasi_ray.study.selection import SeedStatistics, Selection, consensus, over_seeds, replay
from nasi_ray.study.settings import Table2Study
from nasi_ray.study.text import (
    MODE_NAMES,
    TIED_NOTE,
    over_seeds_text,
    reference_rows,
    selection_text,
    selections_table,
)
from nasi_ray.tables.accuracies import Accuracies, open_accuracies

TABLE2_NOTE = (
    "*Consensus* is the cell selected from the mean of the seeds' α*. Published figures are those "
    "of the paper's Table 2 (mean ± std of 5 searches of one epoch) and of later papers where it "
    f"says so; none was measured here. {TIED_NOTE}"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModeResult:
    """The searches of all seeds in one data mode."""

    selections: tuple[Selection, ...]
    """One per seed."""
    statistics: SeedStatistics
    consensus: Selection
    """From the mean of the seeds' α*."""


def search_all(
    tables: Sequence[SampleTable], config: EstimateConfig, accuracies: Accuracies
) -> ModeResult:
    """Replay the searches of one data mode.

    Args:
        tables: Records, one table a seed.
        config: Settings of the estimate.
        accuracies: Of the records' space.

    Raises:
        NoGoodSamplesError: If no sample of a seed is good.
    """
    selections = tuple(replay(table, config, accuracies) for table in tables)
    return ModeResult(
        selections=selections,
        statistics=over_seeds(selections),
        consensus=consensus(tables, config, accuracies),
    )


def run(study: Table2Study, source: RunSource) -> Outcome:
    """Search every space in all data modes.

    Raises:
        NasiRayError: Whatever a user can cause; what was computed is stored.
    """
    settings, num_samples = study.settings, study.settings.estimate.num_samples
    spaces = tuple(dict.fromkeys(study.spaces or (settings.samples.space,)))
    found = {s: open_accuracies(s, settings.table, settings.metric) for s in spaces}
    lines, result = [TABLE2_NOTE, ""], {}
    for space, accuracies in found.items():
        tables = source.tables_of_all_modes(dataclasses.replace(settings.samples, space=space))
        modes: dict[str, ModeResult] = {
            m: search_all(t, settings.estimate, accuracies) for m, t in tables.items()
        }
        reference = SpaceReference(accuracies)
        lines += table2_lines(
            space, modes, reference, num_samples=num_samples, seeds=settings.seeds
        )
        result[space] = {"modes": modes, "reference": reference.to_json(num_samples)}
    return Outcome(
        name="table2",
        title="Searches on true labels, random labels and random data",
        metrics={space: accuracies.metric.describe() for space, accuracies in found.items()},
        result=result,
        lines=lines,
    )


def table2_lines(
    space: str,
    results: Mapping[str, ModeResult],
    reference: SpaceReference,
    *,
    num_samples: int,
    seeds: Sequence[int],
) -> list[str]:
    """One space's part of Table 2."""
    rows = [
        (
            MODE_NAMES[mode],
            over_seeds_text(found.statistics),
            selection_text(found.consensus),
            paper_error(mode, space),
        )
        for mode, found in results.items()
    ]
    rows += [(name, value, "", "") for name, value in reference_rows(reference, num_samples)]
    rows += [(name, "", "", error) for name, error in _published(space)]
    what = f"{reference.error_name}, %"
    headings = (what, "mean ± std over seeds", "consensus", "published (not ours)")
    lines = [f"## {space}", "", *markdown_table(headings, rows)]
    for mode, found in results.items():
        lines += ["", f"### {space}: cells selected with {MODE_NAMES[mode]}", ""]
        lines += selections_table(seeds, found.selections, reference)
    return [*lines, ""]


def _published(space: str) -> list[tuple[str, str]]:
    """Who published errors of NASI's cells, and the errors."""
    rows = [
        (f"*published*: the authors' code run by others, {steps}", by_space[space])
        for steps, by_space in RERUNS.items()
        if space in by_space
    ]
    if space == "nb201":
        rows.append(("*published*: NASI by later papers", NB201_TEST_ERROR))
    return rows
