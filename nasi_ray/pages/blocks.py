"""What a page consists of. Texts are plain: the template escapes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Spec = dict[str, Any]
"""A figure in Vega-Lite's JSON."""
Rows = Sequence[Sequence[object]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A figure, and the table that says the same to those who do not see it."""

    name: str
    """Of its files; unique in its part."""
    title: str
    spec: Spec
    about: str = ""
    """How to read it."""
    headings: Sequence[str] = ()
    rows: Rows = ()
    live: str = ""
    """What the explorer may change of it: ``cell`` or ``nu``; empty: nothing."""
    max_width: int = 0
    """Pixels; 0: as wide as the page."""
    kind: str = "figure"


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """An image from a file or data set."""

    title: str
    data: str
    """A ``data:`` address."""
    alt: str
    """What it shows, in words."""
    about: str = ""
    kind: str = "picture"


@dataclass(frozen=True, kw_only=True, slots=True)
class Thumbnails:
    """Small images with captions."""

    images: Sequence[tuple[str, str]]
    """``data:`` address, caption."""
    kind: str = "thumbnails"


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table that everybody sees, unless it is folded."""

    title: str
    headings: Sequence[str]
    rows: Rows
    is_folded: bool = False
    kind: str = "table"


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A paragraph."""

    text: str
    kind: str = "note"


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """A text to copy, as it is."""

    title: str
    text: str
    is_folded: bool = False
    kind: str = "code"


@dataclass(frozen=True, kw_only=True, slots=True)
class Explorer:
    """Controls that change figures of the page."""

    content: Mapping[str, Any]
    """What ``page.js`` reads."""
    about: str
    kind: str = "explorer"


Block = Figure | Picture | Thumbnails | Table | Note | Code | Explorer


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A heading and what is below it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What there is to say of one run."""

    title: str
    verdict: str
    sections: Sequence[Section]
