from __future__ import annotations

import io
import os
import pty
from collections.abc import Iterator
from typing import TextIO

import pytest

from nasi_ray.display.bar import LineBar, TerminalBar, make_bar


def test_lines_come_first_last_and_once_per_interval() -> None:
    stream, times = io.StringIO(), iter([0.0, 4.0, 9.0, 10.0, 12.0, 20.0, 21.0])
    bar = LineBar(stream, clock=lambda: next(times))
    for done in (0, 10, 20, 25, 30, 100):
        bar.update("a.tfrecord", done, 100)
    bar.update("s1", 0, 0)
    bar.close()
    assert stream.getvalue().splitlines() == [
        "a.tfrecord: 0 %, ? left",
        "a.tfrecord: 25 %, 0:00:30 left",
        "a.tfrecord: 100 %, 0:00:00 left",
        "s1: 100 %, ? left",
    ]


def test_lines_have_no_escape_codes_and_fit_the_encoding() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    bar = LineBar(stream)
    bar.update("\x1b[31mä\n.tfrecord", 0, 1)
    bar.message("opening ä\udcff")
    assert raw.getvalue().decode() == ("\\xe4 .tfrecord: 0 %, ? left\nopening \\xe4\n")


@pytest.fixture
def terminal() -> Iterator[tuple[TextIO, int]]:
    """A terminal to write to, and the end that reads what was written."""
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        yield stream, reader
    os.close(reader)


def test_a_terminal_gets_a_bar_and_its_cursor_back(terminal: tuple[TextIO, int]) -> None:
    stream, reader = terminal
    bar = make_bar(stream, environ={"TERM": "xterm"})
    assert isinstance(bar, TerminalBar)
    bar.update("a[b].tfrecord", 5, 10)
    bar.message("s1: joining")
    bar.update("a[b].tfrecord", 10, 10)
    bar.close()
    bar.close()
    raw = b""
    while not raw.endswith(b"\x1b[?25h"):  # a terminal passes on what it was sent in pieces
        raw += os.read(reader, 100_000)
    shown = raw.decode()
    for part in ("a[b].tfrecord", "50 %", "100 %", "s1: joining", "\x1b[?25l"):
        assert part in shown


def test_what_cannot_show_a_bar_gets_lines(terminal: tuple[TextIO, int]) -> None:
    stream, _ = terminal
    assert isinstance(make_bar(stream, environ={"TERM": "dumb"}), LineBar)
    assert isinstance(make_bar(stream, environ={"TERM": "xterm", "CI": "true"}), LineBar)
    assert isinstance(make_bar(io.StringIO(), environ={}), LineBar)
