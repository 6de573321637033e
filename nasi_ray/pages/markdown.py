"""Our own Markdown as sections of a page: headings, paragraphs, tables; texts stay plain."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count

from nasi_ray.pages.blocks import Block, Note, Section, Table

_EMPHASIS = re.compile(r"(?<![\w*])(\*\*?)(?=\S)([^*]+?)(?<=\S)\1(?!\w)")
_BAR = re.compile(r"(?<!\\)\|")


def markdown_sections(text: str, first: str) -> list[Section]:
    """Sections of a text, one for each heading below the title.

    The title, pictures and commands are left out: a page shows them elsewhere.

    Args:
        text: As studies write it: blank lines between headings, paragraphs and tables.
        first: Heading of what stands before any other.
    """
    sections: list[tuple[str, list[Block]]] = [(first, [])]
    numbers = count(1)
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        lines = paragraph.splitlines()
        if not lines or lines[0].startswith(("# ", "![", "    ")):
            continue
        if lines[0].startswith("#"):
            sections.append((lines.pop(0).lstrip("# "), []))
        blocks = sections[-1][1]
        if len(lines) > 1 and lines[1].startswith("|---"):
            blocks.append(_table(lines, f"Table {next(numbers)}"))
        elif lines[:1] and lines[0].startswith("- "):
            blocks += [Note(text=_plain(item)) for item in _items(lines)]
        elif lines:
            blocks.append(Note(text=_plain(" ".join(lines))))
    return [Section(title=title, blocks=blocks) for title, blocks in sections if blocks]


def _table(lines: Sequence[str], title: str) -> Table:
    headings, _, *rows = (
        [_plain(cell.strip().replace("\\|", "|")) for cell in _BAR.split(line)[1:-1]]
        for line in lines
    )
    return Table(title=title, headings=headings, rows=rows)


def _items(lines: Sequence[str]) -> list[str]:
    """List items, of which each may go on in lines that are indented."""
    return [" ".join(item.split()) for item in re.split(r"^- ", "\n".join(lines), flags=re.M)[1:]]


def _plain(text: str) -> str:
    return _EMPHASIS.sub(r"\2", text).replace("`", "")
