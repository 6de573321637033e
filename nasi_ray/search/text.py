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

from nasi_ray.display.formats import (
    format_number,
    format_seconds,
    format_uncertain,
    plural,
    printable,
    wrapped,
)
from nasi_ray.display.tables import table_blocks
from nasi_ray.errors import RecordCorruptError
from nasi_ray.spaces import Decision, Genotype, get_space
from nasi_ray.statistics import SIGNIFICANT_AT

_MAX_NAMED = 10
_HEADINGS = ("decision", "first choice", "second choice", "margin", "ratio")
_LEGEND = (
    ("e", "squared norm of the loss gradient at initialization (eq. 11-12 of the paper)"),
    ("ν, μ", "a sample's gradient counts 1 - μ times where e is above ν (eq. 13)"),
    ("margin", "α of the first choice minus α of the second, ± its standard error"),
    (
        "ratio",
        f"margin / standard error; {SIGNIFICANT_AT:g} or more is significant; below that the two "
        "choices are tied: their order may be chance",
    ),
)


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

    @property
    def ratio(self) -> float | None:
        """Margin in standard errors; None if not known."""
        return _ratio(self.margin, self.error)

    @property
    def is_significant(self) -> bool:
        """Whether the margin is significant; False if its error is not known."""
        return _is_significant(self.ratio)

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text, under the headings of the table."""
        mark = "" if self.is_significant else " tied"
        return (
            self.name,
            self.first,
            self.second,
            format_uncertain(self.margin, self.error),
            _format_ratio(self.ratio) + mark,
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
        verdict = [*_verdict(rows, result["num_samples"]), *_kept_verdict(result)]
        cell = _architecture_lines(result)
    except KeyError as error:
        raise RecordCorruptError(
            f"result has no {error}; run the search again, its records answer at once"
        ) from error
    lines = [*_texts(head), Text(), *_table_lines(rows), Text()]
    for part in (_legend(), verdict):
        lines += [*_texts(part), Text()]
    return _render([*lines, *_texts(cell)], color=color)


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
    was, these = ("was", "it") if len(lost) == 1 else ("were", "them")
    text = (
        f"warning: {plural(len(lost), 'sample')} {was} lost at every attempt ({named}); the result "
        f"is without {these}. result.json says why, and the same command tries {these} again"
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
            )
        )
    return rows


def _format_ratio(ratio: float | None) -> str:
    if ratio is None:
        return "?"
    # Cut, not rounded: 1.96 must not read as 2.0 and be called tied.
    return ">99" if ratio >= 100 else f"{math.floor(ratio * 10) / 10:.1f}"


def _choices(decision: Decision, logits: Sequence[float]) -> tuple[str, str]:
    if len(logits) != decision.size:
        raise RecordCorruptError(
            f"alpha of {decision.name} has {len(logits)} logits, the space has {decision.size}; "
            "another version made the result; run the search again"
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
    lines = [
        f"Search of {result['space']}, seed {result['seed']}: {samples}{failed} "
        f"in {format_seconds(result['seconds'])}",
        f"method {result['method']}, ν {_nu(result)}, μ {format_number(result['mu'])}",
        f"trace norm e: {spread}",
    ]
    return [part for line in lines for part in wrapped(line)]


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
        lines += [Text(line, style="" if row.is_significant else "yellow") for line in block]
    return lines


def _verdict(rows: Sequence[DecisionRow], num_samples: int) -> list[str]:
    num_tied = sum(not row.is_significant for row in rows)
    limit = f"{SIGNIFICANT_AT:g} standard errors"
    if num_tied == 0:
        return wrapped(f"All {len(rows)} decisions are significant (margin of at least {limit}).")
    # No number of samples is called enough: between equally good choices, none is.
    return wrapped(
        f"{num_tied} of {len(rows)} decisions are tied (margin under {limit}). Four times the "
        f"samples (--num-samples {4 * num_samples}) about halve the standard errors; equally good "
        "choices stay tied."
    )


def _kept_verdict(result: Mapping[str, Any]) -> list[str]:
    """For cells that keep more than a sample takes: whether the kept candidates are significant."""
    kept, errors = result.get("kept_margins"), result.get("kept_margin_errors")
    if not kept or not errors or kept == result["margins"]:
        return []
    ratios = [_ratio(_finite(kept[name]), _finite(errors[name])) for name in kept]
    num_tied = sum(not _is_significant(ratio) for ratio in ratios)
    return wrapped(
        f"Which candidates the cell keeps (last kept against first left out): {num_tied} of "
        f"{len(kept)} are tied."
    )


def _legend() -> list[str]:
    return [
        line for name, meaning in _LEGEND for line in wrapped(f"{name}: {meaning}", hanging="    ")
    ]


def _is_significant(ratio: float | None) -> bool:
    return ratio is not None and ratio >= SIGNIFICANT_AT


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
