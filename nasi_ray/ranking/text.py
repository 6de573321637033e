"""A ranking in text: tables of the proxies for a terminal and as Markdown, with warnings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasi_ray.display.formats import (
    format_number,
    format_seconds,
    one_line,
    plural,
    printable,
    wrapped,
)
from nasi_ray.display.tables import markdown_table, text_table
from nasi_ray.ranking.settings import SIZE_PROXIES
from nasi_ray.tables.metric import SPLIT_NAMES

_HEADINGS = (
    *("proxy", "n", "missing", "Spearman", "Kendall τ-b", "beyond size", "seeds agree"),
    "best's error",
)
_TERMINAL_TABLES = ((0, 1, 3, 5), (0, 2, 4, 6, 7))
"""Columns of ``_HEADINGS`` that share a table of at most 80 columns."""


def ranking_lines(result: Mapping[str, Any]) -> str:
    """The tables for a terminal, in lines of at most 80 columns.

    Args:
        result: The content of ``ranking.json``.

    Returns:
        Lines of text, each ended by a line break.
    """
    remarks = [*ranking_notes(result), *(f"WARNING: {text}" for text in result["warnings"])]
    lines = [*wrapped(ranking_title(result)), "", *_tables(result), ""]
    if not result["metric"]:
        lines += _ranked_lines(result)
    lines += [line for remark in remarks for line in wrapped(remark)]
    return "".join(printable(line) + "\n" for line in lines)


def ranking_markdown(result: Mapping[str, Any]) -> str:
    """The table, what it means, the deciles and the settings, as ``ranking.md``.

    Args:
        result: The content of ``ranking.json``.
    """
    lines = [f"# {one_line(ranking_title(result))}", ""]
    lines += [f"**Warning:** {one_line(text)}." + "\n" for text in result["warnings"]]
    lines += markdown_table(ranking_headings(result), ranking_rows(result))
    lines += ["", *(f"{one_line(note)}\n" for note in ranking_notes(result)), *_deciles(result)]
    lines += _ranked_markdown(result)
    lines += ["## Settings", ""]
    settings = sorted((str(k), _plain(v)) for k, v in result["settings"].items())
    lines += markdown_table(("setting", "value"), settings)
    return "\n".join(lines) + "\n"


def ranking_title(result: Mapping[str, Any]) -> str:
    """What was ranked, in a line."""
    seeds = plural(len(result["seeds"]), "seed")
    architectures = result["architectures"]
    return (
        f"{result['space']}: {architectures['num']} of "
        f"{architectures['num_distinct_in_space']} architectures, {seeds}, "
        f"{format_seconds(result['seconds'])}"
    )


def ranking_headings(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Of ``ranking_rows``."""
    return _HEADINGS if result["metric"] else _HEADINGS[:3]


def _tables(result: Mapping[str, Any]) -> list[str]:
    """The content of ``ranking_rows`` in tables that fit a terminal."""
    rows = ranking_rows(result)
    if not result["metric"]:
        return text_table(ranking_headings(result), rows)
    lines: list[str] = []
    for columns in _TERMINAL_TABLES:
        headings, *cells = [[row[i] for i in columns] for row in (_HEADINGS, *rows)]
        lines += ["", *text_table(headings, cells)]
    return lines[1:]


def ranking_rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row per proxy; with a table of accuracies the best correlation first."""
    proxies = result["proxies"]
    if not result["metric"]:
        return [_counts(p) for p in proxies]
    ranked = sorted(proxies, key=lambda p: -_rho(p))
    return [
        (
            *_counts(p),
            _interval(p["spearman"]),
            _interval(p["kendall"]),
            _beyond_size(p),
            _signed(p["seed_agreement"]),
            "?" if p["best"] is None else f"{p['best']['error_percent']:.2f}",
        )
        for p in ranked
    ]


def _rho(proxy: Mapping[str, Any]) -> float:
    value: float | None = proxy["spearman"]["value"]
    return -2.0 if value is None else value


def _counts(proxy: Mapping[str, Any]) -> tuple[str, ...]:
    mark = "" if proxy["higher_is_better"] else " *"
    return (proxy["name"] + mark, str(proxy["num_scored"]), str(proxy["num_missing"]))


def _interval(correlation: Mapping[str, float | None]) -> str:
    value, low, high = (correlation[key] for key in ("value", "low", "high"))
    if low is None or high is None:
        return _signed(value)
    return f"{_signed(value)} [{_signed(low)}, {_signed(high)}]"


def _beyond_size(proxy: Mapping[str, Any]) -> str:
    # Earlier versions knew no interval, or not even the value.
    unknown = {"low": None, "high": None}
    interval = proxy.get("beyond_size_interval") or unknown
    return _interval({"value": proxy.get("beyond_size"), **interval})


def _signed(value: float | None) -> str:
    return "?" if value is None else f"{value:+.3f}"


def ranking_notes(result: Mapping[str, Any]) -> list[str]:
    """What the numbers mean, and which are missing."""
    metric = result["metric"]
    if metric is None:
        lines = ["No table was given, so no accuracy is known: there are scores only."]
    else:
        lines = [
            f"Accuracy: {metric['column']} of {result['table']} ({metric['dataset']} "
            f"{metric['split']}, {_schedule(metric)}).",
            "Spearman and Kendall: rank correlation of raw score and accuracy, with its 95 % "
            "bootstrap interval in brackets.",
            "beyond size: the same with the number of parameters held fixed (partial correlation "
            "of ranks); ? where the number of parameters gives the same order.",
            "seeds agree: mean Spearman correlation of the scores of two seeds.",
            f"best's error: {error_name(metric)}, in percent, of the architecture with the best "
            "score.",
        ]
    if limits := _limits(result["settings"]):
        lines.append(f"Each network has the most channels with at most {limits}.")
    if not all(proxy["higher_is_better"] for proxy in result["proxies"]):
        lines.append("A * marks proxies for which a lower score is better.")
    for proxy in result["proxies"]:
        if proxy["num_failed"] or proxy["num_lost"]:
            lines.append(_missing(proxy))
    if num_lost := sum(proxy["num_lost"] for proxy in result["proxies"]):
        lines.append(
            f"Every attempt to compute {plural(num_lost, 'score')} failed: this is the ranking of "
            "the others; run the same command again to retry."
        )
    return lines


def _limits(settings: Mapping[str, Any]) -> str:
    names = {"max_params": "parameters", "max_madds": "multiply-adds"}
    given = [f"{settings[k]} {name}" for k, name in names.items() if settings.get(k) is not None]
    return " and ".join(given)


def _schedule(metric: Mapping[str, Any]) -> str:
    epochs = metric["epochs"]
    return "epochs not stated" if epochs is None else plural(epochs, "epoch")


def error_name(metric: Mapping[str, Any]) -> str:
    """``test error``, or the error of the metric's split."""
    split = metric["split"]
    return f"{SPLIT_NAMES.get(split, split)} error"


def _missing(proxy: Mapping[str, Any]) -> str:
    parts = []
    if proxy["num_failed"]:
        parts.append(f"{plural(proxy['num_failed'], 'score')} failed")
    if proxy["num_lost"]:
        parts.append(f"{plural(proxy['num_lost'], 'score')} lost")
    reason, count = next(iter(proxy["reasons"].items()))
    return f"{proxy['name']}: {', '.join(parts)}, most often ({count}): {one_line(reason)}"


def _deciles(result: Mapping[str, Any]) -> list[str]:
    if not result["metric"]:
        return []
    lines = [
        f"## Mean {one_line(error_name(result['metric']))} by tenth of the score",
        "",
        "In percent, ± the standard deviation within the tenth; lowest scores first.",
        "",
    ]
    most = max((len(p["deciles"]) for p in result["proxies"]), default=0)
    rows = []
    for proxy in result["proxies"]:
        cells = [f"{d['error']:.2f} ± {d['std']:.2f}" for d in proxy["deciles"]]
        rows.append((proxy["name"], *cells, *[""] * (most - len(cells))))
    return [*lines, *markdown_table(("proxy", *map(str, range(1, most + 1))), rows), ""]


def ranks_of(proxy: Mapping[str, Any]) -> list[tuple[int, str, str]]:
    """Rank, score and architecture of both ends of a proxy's ranking, the best first."""
    lowest, num = proxy["lowest_ranked"], proxy["num_scored"]
    rows = [*enumerate(proxy["highest_ranked"], 1), *enumerate(lowest, num - len(lowest) + 1)]
    return [(rank, f"{row['score']:.6g}", str(row["architecture"])) for rank, row in rows]


def _ranked_lines(result: Mapping[str, Any]) -> list[str]:
    """The best and the worst architectures of every proxy that was asked for."""
    lines: list[str] = []
    own = [proxy for proxy in result["proxies"] if proxy["name"] not in SIZE_PROXIES]
    for proxy in own or result["proxies"]:
        lines += wrapped(f"Best and worst by {proxy['name']}: rank, score, architecture")
        for rank, score, architecture in ranks_of(proxy):
            text = f"{rank}. {score} {architecture}"
            lines += wrapped(text, indent="  ", hanging="      ")
        lines.append("")
    return lines


def _ranked_markdown(result: Mapping[str, Any]) -> list[str]:
    rows = [
        (proxy["name"], str(rank), score, architecture)
        for proxy in result["proxies"]
        for rank, score, architecture in ranks_of(proxy)
    ]
    headings = ("proxy", "rank", "score", "architecture")
    return ["## Best and worst architectures", "", *markdown_table(headings, rows), ""]


def _plain(value: object) -> str:
    return format_number(value) if isinstance(value, float) else one_line(str(value))
