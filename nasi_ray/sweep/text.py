"""The result of a sweep in text: a table per combination of settings, then the consensus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nasi_ray.display.formats import plural, printable, wrapped
from nasi_ray.display.tables import text_table
from nasi_ray.search.text import architecture_lines
from nasi_ray.spaces import Genotype
from nasi_ray.statistics import DECIDED_AT

_NO_VALUE = "-"


def sweep_lines(content: Mapping[str, Any]) -> str:
    """Describe a sweep, in lines of at most 80 columns.

    Args:
        content: The content of ``sweep.json``.

    Returns:
        Lines of text, each ended by a line break.
    """
    lines: list[str] = []
    for point in content["combinations"]:
        lines += [*_point_lines(point), ""]
    legend = (
        "cell: cells are numbered in the order of the seeds. stands: decisions that another seed "
        f"makes the same with a probability of {DECIDED_AT:.0%} or more, by bootstrap of the "
        "seed's own samples."
    )
    lines += wrapped(legend)
    return "".join(f"{line}\n" for line in lines)


def _point_lines(point: Mapping[str, Any]) -> list[str]:
    changed = ", ".join(f"{name}={value}" for name, value in point["set"].items())
    lines = [printable(changed), ""] if changed else []
    searches, consensus = point["searches"], point["consensus"]
    if not searches:
        return [*lines, "every search failed"]
    cells = list(dict.fromkeys(_text(one) for one in searches))
    lines += [*text_table(_headings(searches), _rows(searches, cells)), ""]
    lines += [*(printable(f"cell {i}: {cell}") for i, cell in enumerate(cells, start=1)), ""]
    lines += wrapped(_verdict(consensus, cells))
    lines += ["", *text_table(("decision", "seeds that agree"), _vote_rows(consensus))]
    return [*lines, "", *architecture_lines(consensus)]


def _headings(searches: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return ("seed", "cell", *(["parameters"] if "num_params" in searches[0] else []), "stands")


def _rows(searches: Sequence[Mapping[str, Any]], cells: Sequence[str]) -> list[tuple[str, ...]]:
    return [
        (
            str(one["seed"]),
            str(cells.index(_text(one)) + 1),
            *([f"{one['num_params']:,.0f}"] if "num_params" in searches[0] else []),
            _stands(one["kept_probabilities"]),
        )
        for one in searches
    ]


def _stands(probabilities: Mapping[str, float | None]) -> str:
    known = [value for value in probabilities.values() if value is not None]
    return f"{sum(p >= DECIDED_AT for p in known)} of {len(known)}" if known else _NO_VALUE


def _vote_rows(consensus: Mapping[str, Any]) -> list[tuple[str, str]]:
    num = consensus["num_searches"]
    return [(name, f"{votes} of {num}") for name, votes in consensus["votes"].items()]


def _verdict(consensus: Mapping[str, Any], cells: Sequence[str]) -> str:
    num, same = consensus["num_searches"], consensus["num_selected"]
    key = _text(consensus)
    which = "a cell that no seed selected"
    if key in cells:
        which = f"cell {cells.index(key) + 1}, which {same} of {num} selected"
    return f"The consensus of {plural(num, 'seed')}, the best mean score, is {which}."


def _text(cell: Mapping[str, Any]) -> str:
    if "genotype" in cell:
        return Genotype.from_dict(cell["genotype"]).to_string()
    return str(cell["architecture"])
