"""What a stream can show: whether it is a terminal that takes escape codes, colours and glyphs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO

_GLYPHS = "━─±…"
_DEFAULT_SIZE = (80, 24)


def is_capable(stream: TextIO | None, *, environ: Mapping[str, str] | None = None) -> bool:
    """Whether a stream can show a progress bar and colours.

    That needs a terminal whose encoding has line-drawing characters. ``TERM=dumb`` and ``CI`` rule
    it out.

    Args:
        stream: Usually ``sys.stderr`` or ``sys.stdout``; None if that was closed.
        environ: Environment variables; None: those of this process.
    """
    environ = os.environ if environ is None else environ
    in_ci = environ.get("CI", "").lower() not in ("", "0", "false")
    is_dumb = environ.get("TERM", "").lower() in ("dumb", "unknown")
    if stream is None or in_ci or is_dumb:
        return False
    return stream.isatty() and can_write(stream, _GLYPHS)


def wants_color(stream: TextIO | None, *, environ: Mapping[str, str] | None = None) -> bool:
    """Whether to write colours to a stream: it is capable, and ``NO_COLOR`` is not set.

    Args:
        stream: Usually ``sys.stderr`` or ``sys.stdout``; None if that was closed.
        environ: Environment variables; None: those of this process.
    """
    environ = os.environ if environ is None else environ
    return is_capable(stream, environ=environ) and not environ.get("NO_COLOR")


def can_write(stream: TextIO, text: str) -> bool:
    """Whether the stream's encoding has all characters of a text."""
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def terminal_size(stream: TextIO) -> tuple[int, int]:
    """Columns and lines of the terminal that a stream writes to; 80 and 24 if not known."""
    # rich asks about the process's own three streams, which may be files while this one is not.
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return _DEFAULT_SIZE
    # A terminal whose size was never set reports 0.
    return columns or _DEFAULT_SIZE[0], lines or _DEFAULT_SIZE[1]
