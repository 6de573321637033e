"""What a study's Markdown file says, subcommand by subcommand: lines without the heading."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from nasi_ray.report.study_text import (
    MODE_NAMES,
    UNDETERMINED_NOTE,
    interval,
    markdown_table,
    number,
    over_seeds_text,
    plain,
    reference_rows,
    selection_text,
    selections_table,
)
from nasi_ray.spaces import Genotype
from nasi_ray.study.ablation import Variation
from nasi_ray.study.accuracies import SpaceReference
from nasi_ray.study.agnosticism import Agreement
from nasi_ray.study.cells import CLEAR_ABOVE, SelectedCell, SelectedCells
from nasi_ray.study.comparison import ModeResult
from nasi_ray.study.correlation import NUM_RESAMPLES, Correlation
from nasi_ray.study.effectiveness import Budget
from nasi_ray.study.effects import ChoiceEffect
from nasi_ray.study.published import NB201_TEST_ERROR, RERUNS, paper_error
from nasi_ray.study.tradeoff import GridPoint, Group, Relation

INTERVAL_NOTE = (
    f"In brackets: 95 % percentile bootstrap interval ({NUM_RESAMPLES} resamples) of the mean over "
    "these seeds; coefficients are computed within each seed and averaged. The interval knows of "
    "what is drawn anew for every sample (architecture and batch, and θ0 with init_per = sample); "
    "the spread over seeds shows the rest."
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
                    _per_seed(correlation),
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


def tradeoff_lines(
    relations: Sequence[Relation],
    groups: Sequence[Group],
    effects: Sequence[ChoiceEffect],
    points: Sequence[GridPoint],
    reference: SpaceReference,
    *,
    error_name: str,
) -> list[str]:
    """Figures 3 and 4 in numbers, and what each choice does to e and to the error."""
    return [
        *_relation_lines(relations, groups, reference, error_name),
        "",
        *_effect_lines(effects, error_name),
        "",
        *_grid_lines(points, error_name),
    ]


def _relation_lines(
    relations: Sequence[Relation],
    groups: Sequence[Group],
    reference: SpaceReference,
    error_name: str,
) -> list[str]:
    signed = [
        (f"{r.x} and {r.y}", interval(r.spearman), _per_seed(r.spearman), interval(r.kendall))
        for r in relations
    ]
    tenths = [
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
            ("tenth by e", "mean e", f"{error_name}, %: mean ± std", "parameters", "n"), tenths
        ),
        "",
        f"Random architecture {reference.expected:.2f} %, space's best {reference.best:.2f} %.",
    ]


def _effect_lines(effects: Sequence[ChoiceEffect], error_name: str) -> list[str]:
    rows = [
        (
            effect.decision,
            effect.candidate,
            _signed(effect.log_trace_norm) + _spread(effect.log_trace_norm_std),
            _signed(effect.error),
            str(effect.num),
        )
        for effect in effects
    ]
    headings = ("decision", "choice", "ln e: mean ± std over seeds", f"{error_name}, points", "n")
    return [
        "### What a choice does",
        "",
        "Samples with the choice made against all samples: the difference of their mean ln e (0.1 "
        "is about 10 % of e) and of their mean error. A search can only tell choices apart by the "
        "first column.",
        "",
        *markdown_table(headings, rows),
    ]


def _spread(std: float) -> str:
    return f" ± {std:.2f}" if math.isfinite(std) else ""


def _signed(value: float) -> str:
    return f"{value:+.2f}"


def _grid_lines(points: Sequence[GridPoint], error_name: str) -> list[str]:
    grid = [
        (p.method.upper(), plain(p.nu), plain(p.mu), over_seeds_text(p.statistics), _penalised(p))
        for p in points
    ]
    return [
        "### Selected cells over ν and μ (Figure 4)",
        "",
        "The best point of this grid is picked by the table: an oracle, as no search knows it. "
        "With ν above every e nothing is penalised, so μ makes no difference.",
        "",
        *markdown_table(("method", "ν or ν₀", "μ", f"{error_name}, %", "samples with e > ν"), grid),
        "",
        UNDETERMINED_NOTE,
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


def _per_seed(correlation: Correlation) -> str:
    return ", ".join(number(value) for value in correlation.per_seed)


def _penalised(point: GridPoint) -> str:
    shares = [s.share_penalised for s in point.selections]
    return f"{100 * sum(shares) / len(shares):.0f} %"
