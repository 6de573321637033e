"""What one choice does to e and to the table's error, over the sampled architectures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.display.tables import markdown_table
from nasi_ray.records.rows import SampleTable
from nasi_ray.spaces import TabularSpace
from nasi_ray.spaces.options import chosen_candidates
from nasi_ray.study.accuracies import SampledCells


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceEffect:
    """Samples with one candidate chosen against all samples, averaged over seeds."""

    decision: str
    candidate: str
    log_trace_norm: float
    """Mean ln e with the candidate chosen minus mean ln e, mean over seeds: 0.1 is 10 %."""
    log_trace_norm_std: float
    """Standard deviation over seeds; NaN with one seed."""
    error: float
    """The same difference of the table's error, percentage points."""
    num: int
    """Samples with the candidate chosen, of all seeds."""


def choice_effects(
    tables: Sequence[SampleTable],
    cells: Sequence[SampledCells],
    num_samples: int,
    space: TabularSpace[Any],
) -> tuple[ChoiceEffect, ...]:
    """Main effect of every candidate of every decision that has alternatives.

    Args:
        tables: Records, one table a seed, with one draw for all cells.
        cells: The same samples beside the table.
        num_samples: Samples with an index below this count.
        space: Their space.

    Returns:
        Decisions and candidates in the space's order; a candidate that no sample of some seed
        chose is left out, and so are samples with e = 0 (no logarithm).

    Raises:
        ConfigError: If every cell had a draw of its own.
    """
    used = [table.below(num_samples) for table in tables]
    chosen = [chosen_candidates(table.choices[table.ok], space) for table in used]
    found = []
    for decision, where in zip(space.decisions, space.slices, strict=True):
        if decision.size <= decision.num_chosen:
            continue
        for candidate, column in zip(
            decision.candidates, range(where.start, where.stop), strict=True
        ):
            per_seed = [_effect(h[:, column], c) for h, c in zip(chosen, cells, strict=True)]
            if all(num for _, _, num in per_seed):
                found.append(_mean_effect(decision.name, candidate, per_seed))
    return tuple(found)


def effect_lines(effects: Sequence[ChoiceEffect], *, error_name: str) -> list[str]:
    """What each choice does to e and to the error, in numbers."""
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


def _mean_effect(
    decision: str, candidate: str, per_seed: Sequence[tuple[float, float, int]]
) -> ChoiceEffect:
    log_e = np.array([e for e, _, _ in per_seed])
    return ChoiceEffect(
        decision=decision,
        candidate=candidate,
        log_trace_norm=float(log_e.mean()),
        log_trace_norm_std=float(log_e.std(ddof=1)) if len(log_e) > 1 else np.nan,
        error=float(np.mean([error for _, error, _ in per_seed])),
        num=sum(num for _, _, num in per_seed),
    )


def _effect(is_chosen: FloatArray, cells: SampledCells) -> tuple[float, float, int]:
    has_log = cells.trace_norm > 0
    with_it = has_log & (is_chosen > 0)
    num = int(with_it.sum())
    if not num:
        return 0.0, 0.0, 0
    log_e = np.log(cells.trace_norm, where=has_log, out=np.zeros(len(has_log)))
    return (
        float(log_e[with_it].mean() - log_e[has_log].mean()),
        float(cells.error_percent[with_it].mean() - cells.error_percent[has_log].mean()),
        num,
    )


def _spread(std: float) -> str:
    return f" ± {std:.2f}" if math.isfinite(std) else ""


def _signed(value: float) -> str:
    return f"{value:+.2f}"
