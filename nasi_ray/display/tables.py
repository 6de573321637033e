"""Tables in text: aligned for a terminal, and Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from nasi_ray.display.formats import WIDTH, one_line, wrapped

_GAP = "  "


def text_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table with aligned columns, at most 80 columns wide.

    Where that is too narrow, cells are broken after commas. If that is not enough, there are no
    headings, but lines of ``heading: cell`` below each row's first cell.

    Args:
        headings: One per column.
        rows: Cells, as many per row as there are headings.
    """
    return [line for block in table_blocks(headings, rows) for line in block]


def table_blocks(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[list[str]]:
    """The lines of ``text_table`` apart: those of the headings, then those of each row."""
    table = [[one_line(cell) for cell in cells] for cells in (headings, *rows)]
    widths = _widths(table)
    if widths is None:
        return [[], *(_stacked(table[0], cells) for cells in table[1:])]
    return [_aligned(cells, widths) for cells in table]


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; bars in cells are escaped."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(headings), "|" + "---|" * len(headings), *map(line, rows)]


def _widths(table: Sequence[Sequence[str]]) -> list[int] | None:
    """Widths of the columns, the widest ones narrowed as far as needed; None if they cannot fit."""
    columns = list(zip(*table, strict=True))
    widths = [max(map(len, column)) for column in columns]
    smallest = [max(len(p) for cell in column for p in _pieces(cell)) for column in columns]
    while sum(widths) + len(_GAP) * (len(widths) - 1) > WIDTH:
        broken = [i for i, width in enumerate(widths) if width > smallest[i]]
        if not broken:
            return None
        widths[max(broken, key=lambda i: widths[i])] -= 1
    return widths


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    parts = [_broken(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return [
        _GAP.join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip()
        for line in zip_longest(*parts, fillvalue="")
    ]


def _broken(cell: str, width: int) -> list[str]:
    first, *rest = _pieces(cell)
    lines = [first]
    for piece in rest:
        if len(lines[-1]) + 1 + len(piece) <= width:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return lines


def _pieces(cell: str) -> list[str]:
    return cell.replace(", ", ",\n").split("\n")


def _stacked(headings: Sequence[str], cells: Sequence[str]) -> list[str]:
    named = zip(headings[1:], cells[1:], strict=True)
    text = "; ".join(f"{heading}: {cell}" for heading, cell in named)
    return [*wrapped(cells[0]), *wrapped(text, indent="    ")]
