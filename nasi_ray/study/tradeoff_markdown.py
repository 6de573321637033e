"""What the trade-off study's Markdown file says: Figures 3 and 4, and what each choice does."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nasi_ray.study.accuracies import SpaceReference
from nasi_ray.study.effects import ChoiceEffect
from nasi_ray.study.text import (
    INTERVAL_NOTE,
    UNDETERMINED_NOTE,
    interval,
    markdown_table,
    number,
    over_seeds_text,
    per_seed,
    plain,
)
from nasi_ray.study.tradeoff import GridPoint, Group, Relation


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
        (f"{r.x} and {r.y}", interval(r.spearman), per_seed(r.spearman), interval(r.kendall))
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


def _penalised(point: GridPoint) -> str:
    shares = [s.share_penalised for s in point.selections]
    return f"{100 * sum(shares) / len(shares):.0f} %"
