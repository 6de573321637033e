"""The result of a search in text: each decision with its margin, then the cell."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from nasi_ray.config import GRADIENT_ESTIMATORS
from nasi_ray.display.formats import (
    format_millions,
    format_number,
    format_seconds,
    format_uncertain,
    plural,
    printable,
    wrapped,
)
from nasi_ray.display.tables import table_blocks
from nasi_ray.errors import RecordCorruptError
from nasi_ray.nasi.objectives import OBJECTIVES
from nasi_ray.spaces import Decision, Genotype, get_space
from nasi_ray.statistics import DECIDED_AT

_MAX_NAMED = 10
_MAX_NAME = 60
_HEADINGS = ("decision", "first choice", "second choice", "margin", "stands")
_OF_E = (
    ("e", "squared norm of the loss gradient at initialization (eq. 11-12 of the paper)"),
    ("ν, μ", "a sample's gradient counts 1 - μ times where e is above ν (eq. 13)"),
)
_OF_ALPHA = (("margin", "α of the first choice minus α of the second, ± its standard error"),)
_WITHIN_LIMITS = (
    (
        "margin",
        "sum of α (eq. 18) of the best cell within the limits minus that of the best such cell "
        "without the first choice, ± its standard error",
    ),
)
_OF_A_SCORE = (
    (
        "margin",
        "score of the best cell minus that of the best cell without the first choice, in standard "
        "deviations over all cells, ± its standard error",
    ),
)
_STANDS = (
    "stands",
    f"how likely another seed makes the same first choice, by bootstrap of the samples; from "
    f"{DECIDED_AT:.0%} on the decision is made",
)
_OBJECTIVES = {
    "trace-norm": "a large trace norm e, up to ν",
    "panel": "most parameters, corrected by NASWOT and a small relative trace norm",
    "balanced": "most parameters, and a small variance of the logits",
    "relative": "a large scale-free and a small absolute trace norm",
    "size-relative": "many parameters for the relative trace norm",
    "expressive": "many parameters, a large NASWOT and a large scale-free trace norm",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionRow:
    """One decision of a finished search."""

    name: str
    first: str
    """The candidate with the largest logit (the k largest, where k are chosen)."""
    second: str
    """The best candidate that is not first; ``-`` if there is none."""
    margin: float | None
    error: float | None
    """Standard error of the margin; None if not known."""
    probability: float | None
    """How likely another seed makes the same first choice (``Margin``); None if not known."""

    @property
    def is_decided(self) -> bool:
        """Whether the first choice stands; False if that is not known."""
        return is_decided(self.probability)

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text, under the headings of the table."""
        stands = "?" if self.probability is None else f"{_percent(self.probability)} %"
        return (
            self.name,
            self.first,
            self.second,
            format_uncertain(self.margin, self.error),
            stands + ("" if self.is_decided else " open"),
        )


def summary_lines(result: Mapping[str, Any], *, color: bool = False) -> str:
    """Describe the result of a search, in lines of at most 80 columns.

    Args:
        result: The content of ``result.json``.
        color: Write escape codes for colours (see ``display.terminal.wants_color``).

    Returns:
        Lines of text, each ended by a line break.

    Raises:
        RecordCorruptError: If a field is missing or does not fit the space.
        UnknownNameError: If the space is not known.
        InvalidGenotypeError: If the genotype is not a DARTS cell.
    """
    try:
        rows = decision_rows(result)
        head = _head_lines(result)
        answer = _answer(result, rows)
        cell = architecture_lines(result)
    except KeyError as error:
        raise RecordCorruptError(
            f"result has no {error}; run the search again: it is rebuilt from the stored records"
        ) from error
    lines = [*_texts(answer), Text(), *_texts(head), Text(), *_table_lines(rows), Text()]
    return _render([*lines, *_texts(_legend(result)), Text(), *_texts(cell)], color=color)


def lost_warning(result: Mapping[str, Any]) -> str | None:
    """A warning about lost samples, for the end of a search; None if no sample was lost.

    Args:
        result: The content of ``result.json``.

    Returns:
        Lines without a line break at the end.
    """
    lost = result.get("lost", [])
    if not lost:
        return None
    named = ", ".join(map(str, lost[:_MAX_NAMED])) + (", ..." if len(lost) > _MAX_NAMED else "")
    these = "it" if len(lost) == 1 else "them"
    text = (
        f"warning: every attempt to evaluate {plural(len(lost), 'sample')} failed ({named}); the "
        f"result does not include {these}. result.json says why; run the same command again to "
        "retry"
    )
    return "\n".join(wrapped(text))


def decision_rows(result: Mapping[str, Any]) -> list[DecisionRow]:
    """One row per decision that has alternatives, in the order of the space.

    Args:
        result: The content of ``result.json``; ``space``, ``alpha``, ``margins`` and
            ``margin_errors`` are read.

    Raises:
        KeyError: If one of them, or a decision in them, is missing.
        RecordCorruptError: If a decision has another number of logits than the space gives it.
        UnknownNameError: If the space is not known.
    """
    rows = []
    for decision in get_space(result["space"]).decisions:
        if decision.size <= decision.num_chosen:
            continue
        first, second = _choices(decision, result["alpha"][decision.name])
        rows.append(
            DecisionRow(
                name=decision.name,
                first=first,
                second=second,
                margin=_finite(result["margins"][decision.name]),
                error=_finite(result["margin_errors"][decision.name]),
                probability=_finite(result.get("probabilities", {}).get(decision.name)),
            )
        )
    return rows


def is_decided(probability: float | None) -> bool:
    """Whether a decision stands in enough bootstrap draws."""
    return probability is not None and probability >= DECIDED_AT


def _percent(share: float) -> str:
    """Cut, not rounded: 94.9 must not read as 95 and be called open."""
    return str(math.floor(100 * share + 1e-9))


def _choices(decision: Decision, logits: Sequence[float | None]) -> tuple[str, str]:
    if len(logits) != decision.size:
        raise RecordCorruptError(
            f"alpha of {decision.name} has {len(logits)} logits, the space has {decision.size}; "
            "another version made the result; run the search again"
        )
    # Ties go to the candidate that comes first, as in the space's own selection.
    known = [-np.inf if logit is None else logit for logit in logits]
    order = np.argsort(-np.asarray(known, dtype=np.float64), kind="stable")
    names = [decision.candidates[i] for i in order]
    rest = names[decision.num_chosen :]
    return ", ".join(names[: decision.num_chosen]), rest[0] if rest else "-"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _answer(result: Mapping[str, Any], rows: Sequence[DecisionRow]) -> list[str]:
    """The answer in a sentence, what it costs, and what to do next."""
    name = "the cell below" if result["space"] == "darts" else str(result["architecture"])
    name = name if len(name) <= _MAX_NAME else "the architecture below"
    num_open = sum(not row.is_decided for row in rows)
    if not rows:
        sure = "there was nothing to decide"
    elif not num_open:
        sure = f"decided: all {len(rows)} decisions stand"
    else:
        are = "is" if num_open == 1 else "are"
        sure = f"{len(rows) - num_open} of {len(rows)} decisions stand, {num_open} {are} open"
    parts = [f"{result['space']}: {name}; {sure}.", _size(result), _next_step(result, num_open)]
    return wrapped(" ".join(part for part in parts if part))


def _size(result: Mapping[str, Any]) -> str:
    if "num_params" not in result:
        return ""
    params, madds = result["num_params"], result["multiply_adds"]
    where = " (CIFAR-10, C=36, 20 cells)" if "genotype" in result else ""
    sizes = f"{format_millions(params)} parameters, {format_millions(madds)} multiply-adds"
    return f"{sizes}{where}."


def _next_step(result: Mapping[str, Any], num_open: int) -> str:
    if "genotype" in result and num_open:
        kept = result.get("kept_probabilities", {})
        num_kept = sum(is_decided(_finite(p)) for p in kept.values())
        number = f" ({num_kept} of {len(kept)} decisions on what the cell keeps stand)"
    else:
        number = ""
    if not num_open:
        return "Next: train it, or search with another --seed to see it again."
    # No number of samples is called enough: between equally good choices, none is.
    num, more_s = result["num_samples"], 3 * (result.get("sample_seconds") or 0.0)
    wait = "" if more_s < 1 else f"; about {format_seconds(more_s)} more on one core"
    return (
        f"Next: four times the samples (--num-samples {4 * num}{wait}) halve the "
        f"uncertainty{number}. Equally good choices stay open; any of them will do."
    )


def _head_lines(result: Mapping[str, Any]) -> list[str]:
    failed = f" ({result['num_failed']} failed)" if result["num_failed"] else ""
    samples = plural(result["num_samples"], "sample")
    objective = result.get("objective", "trace-norm")
    lines = [
        f"Search of {result['space']}, seed {result['seed']}: {samples}{failed} "
        f"in {format_seconds(result['seconds'])}",
        *_stop_lines(result),
        f"objective {objective}: {_OBJECTIVES.get(objective, objective)}; estimator "
        f"{result.get('estimator', 'straight-through')}",
    ]
    if objective == "trace-norm":
        nu = f", ν {_nu(result)}" if result["nu"] is not None else ""
        lines.append(f"method {result['method']}{nu}, μ {format_number(result['mu'])}")
        lines.append(f"trace norm e: {_spread(result['trace_norm'])}")
    measured = result.get("measured", {})
    lines += [f"{k}: {_spread(measured[k])}" for k in _read_by(objective) if k in measured]
    return [part for line in lines for part in wrapped(line)]


def _stop_lines(result: Mapping[str, Any]) -> list[str]:
    if "stop_when_stable" not in result:
        return []
    asked, most = f"{result['stop_when_stable']:.4g}", result["max_num_samples"]
    if result["num_samples"] == most:
        return [f"no checkpoint below {most} samples was stable at probability {asked}"]
    return [f"ended before {most} samples: every decision stands with probability {asked} or more"]


def _read_by(objective: str) -> tuple[str, ...]:
    return OBJECTIVES[objective].measurements if objective in OBJECTIVES else ()


def _spread(statistics: Mapping[str, float]) -> str:
    return ", ".join(
        f"{key} {format_number(statistics[key])}" for key in ("mean", "std", "min", "max")
    )


def _nu(result: Mapping[str, Any]) -> str:
    nu: float | Sequence[float] = result["nu"]
    if result.get("nu_asked") == "sweep":
        middle = nu if isinstance(nu, int | float) else nu[0]
        return f"at every fifth percentile of e (median {format_number(middle)})"
    if not isinstance(nu, Sequence):
        return format_number(nu)
    if not nu:
        return "?"
    first, last, low, high = map(format_number, (nu[0], nu[-1], min(nu), max(nu)))
    return f"{first} to {last} in {plural(len(nu), 'step')} (between {low} and {high})"


def _table_lines(rows: Sequence[DecisionRow]) -> list[Text]:
    headings, *blocks = table_blocks(_HEADINGS, [row.cells for row in rows])
    lines = [Text(line, style="bold") for line in headings]
    for row, block in zip(rows, blocks, strict=True):
        lines += [Text(line, style="" if row.is_decided else "yellow") for line in block]
    return lines


def _legend(result: Mapping[str, Any]) -> list[str]:
    entries: tuple[tuple[str, str], ...] = _OF_A_SCORE
    if result.get("estimator", "straight-through") in GRADIENT_ESTIMATORS:
        limits = (result.get(name) for name in ("max_params", "max_madds"))
        is_limited = any(limit is not None for limit in limits)
        entries = _OF_E + (_WITHIN_LIMITS if is_limited else _OF_ALPHA)
        if is_limited and result["space"] == "darts":
            entries += (("sum of α", "less the smallest price of size with which the cell fits"),)
    entries += (_STANDS,)
    return [
        line for name, meaning in entries for line in wrapped(f"{name}: {meaning}", hanging="    ")
    ]


def architecture_lines(result: Mapping[str, Any]) -> list[str]:
    """The cell of a result, in lines of at most 80 columns."""
    if result["space"] == "darts":
        return _cell_lines(Genotype.from_dict(result["genotype"]))
    lines = [f"Architecture {result['architecture']}"]
    lines += [f"hash {result['hash']}"] if "hash" in result else []
    return [part for line in lines for part in wrapped(line)]


def _cell_lines(genotype: Genotype) -> list[str]:
    lines = ["Genotype("]
    for name, edges, concat in (
        ("normal", genotype.normal, genotype.normal_concat),
        ("reduce", genotype.reduce, genotype.reduce_concat),
    ):
        nodes = [", ".join(map(repr, edges[i : i + 2])) for i in range(0, len(edges), 2)]
        lines += [f"    {name}=[", *(f"        {node}," for node in nodes), "    ],"]
        lines.append(f"    {name}_concat={list(concat)!r},")
    return [*lines, ")"]


def _texts(lines: Sequence[str]) -> list[Text]:
    return [Text(printable(line)) for line in lines]


def _render(lines: Sequence[Text], *, color: bool) -> str:
    if not color:
        return "".join(line.plain + "\n" for line in lines)
    console = Console(
        file=io.StringIO(), force_terminal=True, color_system="standard", width=1000, no_color=False
    )
    with console.capture() as capture:
        for line in lines:
            console.print(line, soft_wrap=True)
    return capture.get()
