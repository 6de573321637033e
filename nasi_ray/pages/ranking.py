"""The part of a page about a ranking of architectures by proxies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasi_ray.display.formats import one_line
from nasi_ray.errors import RecordCorruptError
from nasi_ray.pages import specs
from nasi_ray.pages.blocks import Block, Figure, Note, Part, Table
from nasi_ray.pages.files import section
from nasi_ray.pages.made import made_blocks
from nasi_ray.ranking.text import (
    error_name,
    ranking_headings,
    ranking_notes,
    ranking_rows,
    ranking_title,
    ranks_of,
)
from nasi_ray.storage import Storage

_STATES = ("not 0", "may be 0")
_TOLD = (
    ("name", "proxy", ""),
    ("value", "Spearman", "+.3f"),
    ("low", "from", "+.3f"),
    ("high", "to", "+.3f"),
)


def ranking_part(storage: Storage, content: Mapping[str, Any]) -> Part:
    """Describe a ranking.

    Args:
        storage: Its run directory.
        content: Of ``ranking.json``.

    Raises:
        RecordCorruptError: If it lacks what every ranking has.
    """
    try:
        verdict = _verdict(content)
    except (LookupError, TypeError, AttributeError) as error:
        raise RecordCorruptError(
            f"{storage.uri}/ranking.json lacks {one_line(str(error))} (changed, or of another "
            "version); delete it and run the command that wrote it again"
        ) from None
    sections = [section("Proxies", lambda: _table(content))]
    if content.get("metric"):
        sections += [
            section("Correlation with accuracy", lambda: _correlations(content)),
            section("Error by tenth of the score", lambda: _deciles(content)),
        ]
    sections += [
        section("Best and worst architectures", lambda: _ends(content)),
        section("How it was made", lambda: _made(storage, content)),
    ]
    title = f"Ranking of {content.get('space', '')}"
    return Part(title=title, verdict=verdict, sections=sections)


def _verdict(content: Mapping[str, Any]) -> str:
    title = ranking_title(content)
    known = [p for p in content["proxies"] if p.get("spearman", {}).get("value") is not None]
    if not known:
        return f"{title}."
    best = max(known, key=lambda p: p["spearman"]["value"])
    value = best["spearman"]["value"]
    return f"{title}. {best['name']} agrees best with accuracy: Spearman {value:+.3f}."


def _table(content: Mapping[str, Any]) -> list[Block]:
    table = Table(
        title="Scores" if not content["metric"] else "Scores and accuracies",
        headings=ranking_headings(content),
        rows=ranking_rows(content),
    )
    warnings = [Note(text=f"Warning: {text}.") for text in content["warnings"]]
    return [*warnings, table, *(Note(text=text) for text in ranking_notes(content))]


def _correlations(content: Mapping[str, Any]) -> list[Block]:
    rows = []
    for proxy in content["proxies"]:
        found = proxy["spearman"]
        if found["value"] is None:
            continue
        low, high = found["low"], found["high"]
        row = {"name": proxy["name"], "value": found["value"], "state": _STATES[1]}
        if low is None or high is None:  # --num-bootstrap 0
            row |= {"low": found["value"], "high": found["value"], "ends": ("?", "?")}
        else:
            row |= {"low": low, "high": high, "ends": (f"{low:+.3f}", f"{high:+.3f}")}
            row["state"] = _STATES[not (low > 0 or high < 0)]
        rows.append(row)
    if not rows:
        return [Note(text="No correlation is defined: too few scores, or all of them are equal.")]
    rows.sort(key=lambda row: -row["value"])
    return [
        Figure(
            name="correlations",
            title="Rank correlation with accuracy",
            spec=specs.intervals(rows, "Spearman", states=_STATES, told=_TOLD),
            about="Dots: Spearman correlation. Bars: its 95 % bootstrap interval.",
            headings=("proxy", "Spearman", "from", "to"),
            rows=[(row["name"], f"{row['value']:+.3f}", *row.pop("ends")) for row in rows],
        )
    ]


def _deciles(content: Mapping[str, Any]) -> list[Block]:
    name = error_name(content["metric"])
    rows = [
        {"tenth": number, "error": decile["error"], "series": proxy["name"]}
        for proxy in content["proxies"]
        for number, decile in enumerate(proxy["deciles"], start=1)
    ]
    if not rows:
        return [Note(text="There are too few architectures for tenths.")]
    x = specs.quantity("tenth", "tenth of the score, lowest first", axis={"tickMinStep": 1})
    y = specs.quantity("error", f"mean {name}, %")
    return [
        Figure(
            name="deciles",
            title=f"Mean {name} by tenth of the score",
            spec=specs.lines(rows, x, y),
            about="A proxy that ranks well falls from left to right; of one where lower is better, "
            "it rises.",
            headings=("proxy", "tenth", f"mean {name}, %"),
            rows=[(row["series"], row["tenth"], f"{row['error']:.2f}") for row in rows],
        )
    ]


def _ends(content: Mapping[str, Any]) -> list[Block]:
    rows = [(proxy["name"], *row) for proxy in content["proxies"] for row in ranks_of(proxy)]
    headings = ("proxy", "rank", "score", "architecture")
    return [Table(title="Both ends of each ranking", headings=headings, rows=rows, is_folded=True)]


def _made(storage: Storage, content: Mapping[str, Any]) -> list[Block]:
    settings = dict(content.get("settings") or {})
    return made_blocks(storage, "rank", {**content, "samples": settings})
