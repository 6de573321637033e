"""The finalists in text: the answer and what it cost, then a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasi_ray.display.formats import format_seconds, plural, printable, wrapped
from nasi_ray.display.tables import text_table
from nasi_ray.search.text import architecture_lines


def finalist_lines(content: Mapping[str, Any]) -> str:
    """Describe finalists, in lines of at most 80 columns.

    Args:
        content: The content of ``finalists.json``.

    Returns:
        Lines of text, each ended by a line break.
    """
    rows = [
        (
            str(cell["rank"]),
            f"{cell['score']:.3f}",
            _accuracy(cell),
            "?" if cell["epochs"] is None else str(cell["epochs"]),
            _note(cell, content["answer"]),
        )
        for cell in content["cells"]
    ]
    headings = ("rank", "score", "validation accuracy", "epochs", "")
    lines = [*wrapped(_verdict(content)), "", *text_table(headings, rows), ""]
    return "".join(f"{line}\n" for line in [*lines, *architecture_lines(content)])


def _verdict(content: Mapping[str, Any]) -> str:
    cells, number = content["cells"], content["answer"]
    answer, first = cells[number - 1], cells[0]
    which = "the search's own answer" if number == 1 else f"number {number} by the score"
    other = "" if number == 1 else f" (the search's own answer: {_accuracy(first)})"
    return (
        f"Finalists: {which} has the best validation accuracy of {len(cells)} cells: "
        f"{_accuracy(answer)}{other}. Cost: search {format_seconds(content['search_seconds'])}, "
        f"finalists {_cost(content)}."
    )


def _cost(content: Mapping[str, Any]) -> str:
    epochs = [cell["epochs"] for cell in content["cells"]]
    if "table" in content:
        each = "an unstated number of epochs" if epochs[0] is None else plural(epochs[0], "epoch")
        return (
            f"{plural(len(epochs), 'look-up')} of {content['metric']}, each instead of a training "
            f"of {each}"
        )
    return f"{format_seconds(content['finalist_seconds'])} ({plural(sum(epochs), 'epoch')})"


def _accuracy(cell: Mapping[str, Any]) -> str:
    value = cell["valid_accuracy"]
    return "-" if value is None else f"{value:.2f} %"


def _note(cell: Mapping[str, Any], answer: int) -> str:
    if "failure" in cell:
        return f"failed: {printable(cell['failure'])[:40]}"
    if cell["is_stopped"]:
        return "stopped early"
    return "the answer" if cell["rank"] == answer else ""
