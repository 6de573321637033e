"""What a study's Markdown file says, subcommand by subcommand: lines without the heading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nasi_ray.spaces import Genotype
from nasi_ray.study.ablation import Variation
from nasi_ray.study.accuracies import SpaceReference
from nasi_ray.study.agnosticism import Agreement
from nasi_ray.study.cells import CLEAR_ABOVE, SelectedCell, SelectedCells
from nasi_ray.study.comparison import ModeResult
from nasi_ray.study.effectiveness import Budget
from nasi_ray.study.published import NB201_TEST_ERROR, RERUNS, paper_error
from nasi_ray.study.text import (
    INTERVAL_NOTE,
    MODE_NAMES,
    UNDETERMINED_NOTE,
    interval,
    markdown_table,
    number,
    over_seeds_text,
    per_seed,
    reference_rows,
    selection_text,
    selections_table,
)


def agnostic_lines(agreements: Mapping[str, Agreement]) -> list[str]:
    """Figure 1 in numbers."""
    rows = []
    for mode, found in agreements.items():
        for name, correlation in (
            ("Pearson of e", found.pearson),
            ("Pearson of log e", found.pearson_log),
            ("Spearman", found.spearman),
        ):
            rows.append(
                (
                    f"{MODE_NAMES[mode]} against true ones",
                    name,
                    interval(correlation),
                    per_seed(correlation),
                    str(found.num_pairs),
                )
            )
    ratios = ", ".join(
        f"{number(found.median_ratio, 3)} ({MODE_NAMES[mode]})"
        for mode, found in agreements.items()
    )
    return [
        "e of the same architectures (same θ0, same Gumbel draws) in two data modes. With random "
        "labels the images are the same, too. Every sample has a batch of its own, so part of the "
        "scatter is the batch's.",
        "",
        *markdown_table(("e with", "coefficient", "mean over seeds", "seeds", "pairs"), rows),
        "",
        INTERVAL_NOTE,
        "",
        f"Median of e over e with true labels and images: {ratios}.",
    ]


def effectiveness_lines(
    curve: Sequence[Budget], reference: SpaceReference, *, error_name: str, seeds: Sequence[int]
) -> list[str]:
    """Figure 2 in numbers."""
    rows = [
        (str(p.num_samples), over_seeds_text(p.statistics), number(p.oracle_error)) for p in curve
    ]
    last = curve[-1]
    return [
        f"{error_name.capitalize()} of the selected cell after T samples, in percent, mean ± std "
        "over seeds: all replays of the same records.",
        "",
        *markdown_table(("T", "NASI", "*oracle*: best of T random architectures"), rows),
        "",
        UNDETERMINED_NOTE,
        "",
        "### What needs no search",
        "",
        *_references(reference, last.num_samples, error_name),
        "",
        f"### Cells selected at T = {last.num_samples}",
        "",
        *selections_table(seeds, last.selections, reference),
    ]


def table2_lines(
    space: str,
    results: Mapping[str, ModeResult],
    reference: SpaceReference,
    *,
    num_samples: int,
    error_name: str,
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
    for steps, by_space in RERUNS.items():
        if space in by_space:
            name = f"*published*: the authors' code run by others, {steps}"
            rows.append((name, "", "", by_space[space]))
    if space == "nb201":
        rows.append(("*published*: NASI by later papers", "", "", NB201_TEST_ERROR))
    lines = [
        f"## {space}",
        "",
        *markdown_table(
            (f"{error_name}, %", "mean ± std over seeds", "consensus", "published (not ours)"), rows
        ),
    ]
    for mode, found in results.items():
        lines += ["", f"### {space}: cells selected with {MODE_NAMES[mode]}", ""]
        lines += selections_table(seeds, found.selections, reference)
    return [*lines, ""]


TABLE2_NOTE = (
    "*Consensus* is the cell selected from the mean of the seeds' α*. Published figures are those "
    "of the paper's Table 2 (mean ± std of 5 searches of one epoch) and of later papers where it "
    f"says so; none was measured here. {UNDETERMINED_NOTE}"
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
            _clear_text(cell),
        )
        for name, cell in named
    ]
    return [
        f"*Clear*: the last candidate kept and the first left out are at least {CLEAR_ABOVE:g} "
        "standard errors apart. *Consensus*: the cell of the mean of the seeds' α*, its standard "
        "errors from the spread over seeds.",
        "",
        *markdown_table(("seed", "cell", "hash", "parameters", "clear decisions"), rows),
    ]


def _clear_text(cell: SelectedCell) -> str:
    if cell.undetermined:
        return f"undetermined ({len(cell.undetermined)} decisions tie)"
    if cell.num_clear is None:
        return "–"
    return f"{cell.num_clear} of {cell.num_decisions}"


def _cell_text(cell: SelectedCell) -> str:
    genotype = cell.fields.get("genotype")
    if genotype is None:
        return str(cell.fields["architecture"])
    return Genotype.from_dict(genotype).to_darts()


def ablation_lines(
    variations: Sequence[Variation], reference: SpaceReference, *, error_name: str
) -> list[str]:
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
        f"{error_name} of the selected cells, %",
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
        f"Random architecture {reference.expected:.2f} %, space's best {reference.best:.2f} %.",
        "",
        UNDETERMINED_NOTE,
        "",
        INTERVAL_NOTE,
    ]


def _references(reference: SpaceReference, num_samples: int, error_name: str) -> list[str]:
    return markdown_table(("", f"{error_name}, %"), reference_rows(reference, num_samples))
