from __future__ import annotations

import io
import os
import pty
from collections.abc import Iterator
from typing import TextIO

import pytest

from nasi_ray.display.terminal import is_capable, terminal_size, wants_color


@pytest.fixture
def descriptor() -> Iterator[int]:
    """A terminal to write to."""
    reader, writer = pty.openpty()
    yield writer
    os.close(writer)
    os.close(reader)


@pytest.fixture
def terminal(descriptor: int) -> Iterator[TextIO]:
    with os.fdopen(os.dup(descriptor), "w", encoding="utf-8") as stream:
        yield stream


@pytest.mark.parametrize(
    ("environ", "is_bar", "is_colored"),
    [
        ({"TERM": "xterm"}, True, True),
        ({}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "unknown"}, False, False),
        ({"TERM": "xterm", "CI": "true"}, False, False),
        ({"TERM": "xterm", "CI": "1"}, False, False),
        ({"TERM": "xterm", "CI": "false"}, True, True),
    ],
)
def test_the_environment_decides_what_a_terminal_gets(
    terminal: TextIO, environ: dict[str, str], is_bar: bool, is_colored: bool
) -> None:
    assert is_capable(terminal, environ=environ) is is_bar
    assert wants_color(terminal, environ=environ) is is_colored


def test_what_is_no_terminal_or_closed_gets_no_colors() -> None:
    assert not wants_color(io.StringIO(), environ={"TERM": "xterm"})
    assert not wants_color(None, environ={"TERM": "xterm"})


def test_a_terminal_without_the_glyphs_gets_no_colors(descriptor: int) -> None:
    with os.fdopen(os.dup(descriptor), "w", encoding="latin-1") as stream:
        assert stream.isatty()
        assert not wants_color(stream, environ={"TERM": "xterm"})


def test_this_processs_environment_counts(
    terminal: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert wants_color(terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_color(terminal)


def test_a_size_that_is_not_known_is_80_by_24(terminal: TextIO) -> None:
    assert terminal_size(io.StringIO()) == (80, 24)
    assert terminal_size(terminal) == (80, 24)  # a new pseudo-terminal has the size 0 by 0
