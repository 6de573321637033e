"""Numbers and messages as people read them; pure functions of text and numbers."""

from __future__ import annotations

import math
import re
import textwrap

WIDTH = 80
"""Columns that texts for people fit in, where their words do."""

_ESCAPE_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: titles, links
    r"|\x1b[@-Z\\-_]?"
)


def format_seconds(seconds: float | None) -> str:
    """``1:02:03``; ``?`` where the time is not known or not finite."""
    if seconds is None or not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def format_rate(per_second: float | None) -> str:
    """``3.4/s``; per minute below 1/s, per hour below 1/min; ``?/s`` where it is not known."""
    if per_second is None or not math.isfinite(per_second):
        return "?/s"
    for unit, scale in (("s", 1), ("min", 60), ("h", 3600)):
        rate = per_second * scale
        if rate >= 1 or unit == "h":
            break
    return f"{rate:.1f}/{unit}" if rate < 9.95 else f"{rate:.0f}/{unit}"


def format_bytes(count: float | None) -> str:
    """``512 B``, ``1.95 GB``: three significant digits, in powers of 1000; ``?`` if not known."""
    if count is None or not math.isfinite(count):
        return "?"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5 or unit == "TB":
            break
        count /= 1000
    return f"{count:.3g} {unit}" if count < 999.5 else f"{count:.0f} {unit}"


def format_millions(count: float) -> str:
    """``0.802 M``, ``5,840 M``: three significant digits."""
    digits = f"{count / 1e6:.3g}"
    return f"{float(digits):,.0f} M" if count >= 999.5e6 else f"{digits} M"


def format_number(value: float | None) -> str:
    """Four significant digits; ``?`` where the number is not known or not finite."""
    if value is None or not math.isfinite(value):
        return "?"
    return f"{value:.4g}"


def format_uncertain(value: float | None, error: float | None) -> str:
    """``0.0123 ± 0.0041``: two significant digits of the error, and the value to the same place."""
    if value is None or error is None or not math.isfinite(value) or not math.isfinite(error):
        return f"{format_number(value)} ± {format_number(error)}"
    if error <= 0 or not 1e-6 <= error < 1e6:
        return f"{value:.3g} ± {error:.2g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def printable(text: str) -> str:
    """The text without escape sequences, line breaks and other control characters."""
    return "".join(c for c in _ESCAPE_SEQUENCE.sub("", text) if c.isprintable())


def escaped(text: str) -> str:
    """The text on one line, with escapes for line breaks and other control characters."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def escaped_lines(text: str) -> str:
    """The text with its line breaks, and escapes for other control characters."""
    return "\n".join(map(escaped, text.split("\n")))


def one_line(text: str) -> str:
    """The text on one line: printable, and a single space for every run of white space."""
    return printable(" ".join(_ESCAPE_SEQUENCE.sub("", text).split()))


def wrapped(text: str, *, indent: str = "", hanging: str | None = None) -> list[str]:
    """The text in printable lines of at most 80 columns; a longer word stands alone.

    Args:
        text: Prose.
        indent: Put before every line.
        hanging: Put before all lines but the first, in place of ``indent``.
    """
    rest = indent if hanging is None else hanging
    return textwrap.wrap(
        one_line(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def plural(count: int, noun: str) -> str:
    """``1 worker``, ``2 workers``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
