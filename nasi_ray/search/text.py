"""The end of a search in text: each decision with its certainty, then the cell."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from nasi_ray.display.formats import format_number, format_seconds, format_uncertain, plural
from nasi_ray.errors import RecordCorruptError
from nasi_ray.spaces import Decision, Genotype, get_space

UNDECIDED_BELOW = 2.0
"""Margins under this many standard errors are marked: the order may be chance."""

_MAX_NAMED = 10
_HEADINGS = ("decision", "first choice", "second choice", "margin", "margin / error")


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
    """Standard error of the margin; None where it is not known."""

    @property
    def ratio(self) -> float | None:
        """Margin in standard errors; None where it is not known."""
        return _ratio(self.margin, self.error)

    @property
    def undecided(self) -> bool:
        """Whether the order of first and second may be chance, or its certainty is not known."""
        return self.ratio is None or self.ratio < UNDECIDED_BELOW

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text, under the headings of the table."""
        mark = "  undecided" if self.undecided else ""
        return (
            self.name,
            self.first,
            self.second,
            format_uncertain(self.margin, self.error),
            _sureness(self.ratio) + mark,
        )


def summary_lines(result: Mapping[str, Any], *, color: bool = False) -> str:
    """Say what a search found and how sure it is.

    Args:
        result: The content of ``result.json``.
        color: True: with escape codes, for a terminal; False: plain text.

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
        cell = _architecture_lines(result)
    except KeyError as error:
        raise RecordCorruptError(
            f"result has no {error}; run the search again, the records answer at once"
        ) from error
    lines = [Text(line) for line in head]
    lines += [Text(), *_table_lines(rows), Text(), Text(_verdict(rows))]
    lines += [*(Text(line) for line in _kept_verdict(result)), Text()]
    return _render([*lines, *(Text(line) for line in cell)], color=color)


def lost_warning(result: Mapping[str, Any]) -> str | None:
    """One line on the samples that were lost, for the end of a search; None if none was.

    Args:
        result: The content of ``result.json``.
    """
    lost = result.get("lost", [])
    if not lost:
        return None
    named = ", ".join(map(str, lost[:_MAX_NAMED])) + (", ..." if len(lost) > _MAX_NAMED else "")
    was, these = ("was", "it") if len(lost) == 1 else ("were", "them")
    return (
        f"warning: {plural(len(lost), 'sample')} {was} lost at every attempt ({named}): this is "
        f"the answer of the others; result.json says why, and the same command tries {these} again"
    )


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
            )
        )
    return rows


def _sureness(ratio: float | None) -> str:
    if ratio is None:
        return "?"
    # Cut, not rounded: 1.96 must not read as 2.0 and be called undecided.
    return ">99" if ratio >= 100 else f"{math.floor(ratio * 10) / 10:.1f}"


def _choices(decision: Decision, logits: Sequence[float]) -> tuple[str, str]:
    if len(logits) != decision.size:
        raise RecordCorruptError(
            f"alpha of {decision.name} has {len(logits)} logits, the space has {decision.size}; "
            "the result was made by another version, run the search again"
        )
    # Ties go to the candidate that comes first, as in the space's own selection.
    order = np.argsort(-np.asarray(logits, dtype=np.float64), kind="stable")
    names = [decision.candidates[i] for i in order]
    rest = names[decision.num_chosen :]
    return ", ".join(names[: decision.num_chosen]), rest[0] if rest else "-"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _head_lines(result: Mapping[str, Any]) -> list[str]:
    failed = f" ({result['num_failed']} failed)" if result["num_failed"] else ""
    samples = plural(result["num_samples"], "sample")
    norms = result["trace_norm"]
    spread = ", ".join(
        f"{key} {format_number(norms[key])}" for key in ("mean", "std", "min", "max")
    )
    return [
        f"Search of {result['space']}, seed {result['seed']}: {samples}{failed} "
        f"in {format_seconds(result['seconds'])}",
        f"method {result['method']}, ν {_nu(result)}, μ {format_number(result['mu'])}",
        f"trace norm e: {spread}",
    ]


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
    table = [_HEADINGS, *(row.cells for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(_HEADINGS))]
    lines = []
    for position, cells in enumerate(table):
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        undecided = position > 0 and rows[position - 1].undecided
        style = "bold" if position == 0 else "yellow" if undecided else ""
        lines.append(Text("  ".join(padded).rstrip(), style=style))
    return lines


def _verdict(rows: Sequence[DecisionRow]) -> str:
    num_undecided = sum(row.undecided for row in rows)
    limit = f"{UNDECIDED_BELOW:g} standard errors"
    if num_undecided == 0:
        return f"All {len(rows)} decisions are at least {limit} apart."
    return (
        f"{num_undecided} of {len(rows)} decisions are undecided (under {limit}); "
        "more samples help."
    )


def _kept_verdict(result: Mapping[str, Any]) -> list[str]:
    """For cells that keep more than a sample takes: is it sure which candidates are kept?"""
    kept, errors = result.get("kept_margins"), result.get("kept_margin_errors")
    if not kept or not errors or kept == result["margins"]:
        return []
    ratios = [_ratio(_finite(kept[name]), _finite(errors[name])) for name in kept]
    num_undecided = sum(ratio is None or ratio < UNDECIDED_BELOW for ratio in ratios)
    return [
        f"Which candidates the cell keeps (last kept against first left out): {num_undecided} of "
        f"{len(kept)} undecided."
    ]


def _ratio(margin: float | None, error: float | None) -> float | None:
    if margin is None or error is None:
        return None
    if error == 0:
        return math.inf if margin > 0 else 0.0
    return margin / error


def _architecture_lines(result: Mapping[str, Any]) -> list[str]:
    if result["space"] == "darts":
        return _cell_lines(Genotype.from_dict(result["genotype"]))
    lines = [f"Architecture {result['architecture']}"]
    return [*lines, f"hash {result['hash']}"] if "hash" in result else lines


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
