"""Displays of a running job, on a pseudo-terminal and in a log."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import TextIO

import pytest

from nasi_ray.display.progress import LogProgress, TerminalProgress, make_progress, state_lines
from nasi_ray.progress import ProgressState

STATE = ProgressState(
    num_done=12,
    num_total=100,
    num_failed=2,
    per_second=3.4,
    eta_s=26.0,
    num_workers=4,
    num_worker_deaths=1,
    mean_trace_norm=123.456,
    smallest_margin=("reduce/node3/input", 0.012345, 0.0041),
)
START = replace(
    STATE,
    num_done=0,
    num_failed=0,
    per_second=None,
    eta_s=None,
    num_worker_deaths=0,
    mean_trace_norm=None,
    smallest_margin=None,
)
FILE = ProgressState(
    num_done=500_000_000,
    num_total=1_950_000_000,
    per_second=85.2e6,
    eta_s=17.0,
    unit="bytes",
    title="nasbench[full].tfrecord",
)
HOSTILE = "a\x1b[2J\n\x07\u202eb\udcff"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Clock:
    """Seconds that pass only when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeTerminal:
    """A pseudo-terminal of a given width, and everything that was written to it."""

    def __init__(self, columns: int, lines: int = 24) -> None:
        self.columns = columns
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8")
        self._bytes = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self.master, 4096)
            except OSError:
                return
            if not part:
                return
            self._bytes += part

    def finish(self) -> str:
        """Close the terminal and say what was written."""
        self.stream.close()
        self._reader.join(timeout=10)
        return self._bytes.decode()

    def free(self) -> None:
        """Give back what the terminal holds."""
        self.stream.close()
        self._reader.join(timeout=10)
        os.close(self.master)


def screen(written: str, columns: int) -> list[str]:
    """What a person sees after all of it: lines are wrapped at the width, cursor moves obeyed."""
    rows: list[list[str]] = [[]]
    row, column = 0, 0
    for part in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|[^\x1b]", written):
        if part.startswith("\x1b["):
            count, command = part[2:-1], part[-1]
            if command == "A":
                row -= int(count or 1)
            elif command == "K":
                assert count == "2"
                rows[row] = []
            else:
                assert command in "mhl", part
        elif part == "\r":
            column = 0
        elif part == "\n" or column == columns:
            row, column = row + 1, 0 if part != "\n" else column
            rows += [[] for _ in range(row + 1 - len(rows))]
        if len(part) == 1 and part.isprintable():
            rows[row] += [" "] * (column + 1 - len(rows[row]))
            rows[row][column] = part
            column += 1
    return ["".join(line).rstrip() for line in rows]


@pytest.fixture(params=[60, 80, 120])
def terminal(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeTerminal]:
    monkeypatch.setenv("TERM", "xterm-256color")
    fake = FakeTerminal(request.param)
    yield fake
    fake.free()


def test_the_terminal_shows_every_number_without_wrapping(terminal: FakeTerminal) -> None:
    display = TerminalProgress(terminal.stream)
    for done in range(1, 13):
        display.update(replace(STATE, num_done=done))
    display.close()
    shown = screen(terminal.finish(), terminal.columns)
    assert len([line for line in shown if line]) == 3
    assert re.fullmatch(r"━+─+  12/100  3\.4/s  0:00:26 left", shown[0])
    assert shown[1] == "4 workers (1 died), 2 failed, mean e 123.5"
    assert shown[2] == "smallest margin 0.0123 ± 0.0041 at reduce/node3/input"


def test_a_job_without_workers_has_a_bar_its_bytes_and_its_title(terminal: FakeTerminal) -> None:
    display = TerminalProgress(terminal.stream)
    display.update(FILE)
    display.close()
    shown = [line for line in screen(terminal.finish(), terminal.columns) if line]
    assert len(shown) == 2
    assert re.fullmatch(r"━+─+  500 MB of 1\.95 GB  85\.2 MB/s  0:00:17 left", shown[0])
    assert shown[1] == "nasbench[full].tfrecord"


def test_messages_stay_above_the_bar(terminal: FakeTerminal) -> None:
    display = TerminalProgress(terminal.stream)
    display.message("before the first state")
    display.update(START)
    display.message("worker 3 died: [bold]out of memory[/bold] :smile:\x1b[2J")
    display.update(STATE)
    display.message("sample 7 failed")
    display.update(replace(STATE, num_done=13))
    display.close()
    display.message("after the end")
    shown = screen(terminal.finish(), terminal.columns)
    assert shown[:3] == [
        "before the first state",
        "worker 3 died: [bold]out of memory[/bold] :smile:",
        "sample 7 failed",
    ]
    assert "13/100" in shown[3]
    assert shown[5].startswith("smallest margin")
    assert shown[6] == "after the end"


def test_a_long_message_loses_nothing(terminal: FakeTerminal) -> None:
    text = " ".join(f"part{i}" for i in range(60))
    display = TerminalProgress(terminal.stream)
    display.update(STATE)
    display.message(text)
    display.close()
    shown = screen(terminal.finish(), terminal.columns)
    above = [line for line in shown if "part" in line]
    assert " ".join(above).split() == text.split()


def test_the_cursor_is_hidden_while_drawing_and_back_after_close(terminal: FakeTerminal) -> None:
    display = TerminalProgress(terminal.stream)
    display.update(STATE)
    display.close()
    display.close()
    display.update(STATE)
    written = terminal.finish()
    assert written.count(HIDE_CURSOR) == written.count(SHOW_CURSOR) == 1
    assert written.index(HIDE_CURSOR) < written.index(SHOW_CURSOR)
    assert len([line for line in screen(written, terminal.columns) if line]) == 3


def test_closing_before_the_first_state_writes_nothing(terminal: FakeTerminal) -> None:
    TerminalProgress(terminal.stream).close()
    assert terminal.finish() == ""


def test_what_others_print_to_a_file_still_goes_there(
    terminal: FakeTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", to_file)
    display = TerminalProgress(terminal.stream)
    display.update(STATE)
    sys.stdout.write("answer\n")
    display.close()
    assert to_file.getvalue() == "answer\n"
    assert "answer" not in terminal.finish()


def test_no_colour_means_no_colour(terminal: FakeTerminal) -> None:
    display = make_progress(terminal.stream, environ={"TERM": "xterm", "NO_COLOR": "1"})
    assert isinstance(display, TerminalProgress)
    display.update(STATE)
    display.close()
    written = terminal.finish()
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", written)
    assert "12/100" in written


def test_colours_are_there_by_default(terminal: FakeTerminal) -> None:
    display = make_progress(terminal.stream, environ={"TERM": "xterm"})
    display.update(STATE)
    display.close()
    assert re.search(r"\x1b\[[0-9;]*3[0-7]", terminal.finish())


def test_a_dumb_terminal_gets_lines(terminal: FakeTerminal) -> None:
    assert isinstance(make_progress(terminal.stream, environ={"TERM": "dumb"}), LogProgress)


def test_a_terminal_without_line_drawing_gets_lines(terminal: FakeTerminal) -> None:
    with os.fdopen(os.dup(terminal.stream.fileno()), "w", encoding="ascii") as stream:
        display = make_progress(stream, environ={"TERM": "xterm"})
        assert isinstance(display, LogProgress)
        display.update(STATE)
        display.message("ν of π")
    assert "smallest margin 0.0123 +/- 0.0041" in terminal.finish()


def test_a_file_gets_lines() -> None:
    assert isinstance(make_progress(io.StringIO(), environ={"TERM": "xterm"}), LogProgress)


@pytest.mark.parametrize("width", [1, 5, 20, 40, 59, 79, 200])
@pytest.mark.parametrize(
    "state", [START, STATE, FILE, replace(STATE, num_done=10**6, num_total=10**6)]
)
def test_lines_fit_any_width(width: int, state: ProgressState) -> None:
    assert all(line.cell_len <= width for line in state_lines(state, width))


def test_the_bar_is_full_when_all_is_done_and_empty_at_the_start() -> None:
    done = state_lines(replace(STATE, num_done=100), 79)[0].plain
    assert "━" in done
    assert "─" not in done
    assert "━" not in state_lines(START, 79)[0].plain


def test_nothing_to_do_is_no_division_by_zero() -> None:
    assert "0/0" in state_lines(replace(START, num_total=0), 79)[0].plain


def test_a_tiny_terminal_is_not_scrolled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    tiny = FakeTerminal(30, lines=2)
    try:
        display = TerminalProgress(tiny.stream)
        for done in range(5):
            display.update(replace(STATE, num_done=done))
        display.close()
        shown = [line for line in screen(tiny.finish(), 30) if line]
        assert shown == ["4/100  3.4/s  0:00:26 left"]
    finally:
        tiny.free()


def test_a_log_has_one_line_per_interval_and_the_first_and_the_last() -> None:
    stream, clock = io.StringIO(), Clock()
    display = LogProgress(stream, interval_s=10, clock=clock)
    for second in range(26):
        clock.now = 1000.0 + second
        display.update(replace(STATE, num_done=second))
    display.close()
    display.close()
    shown = [line.split("/")[0] for line in stream.getvalue().splitlines()]
    assert shown == ["0", "10", "20", "25"]


def test_a_log_has_the_first_and_the_last_line_of_each_title() -> None:
    stream, clock = io.StringIO(), Clock()
    display = LogProgress(stream, clock=clock)
    for title in ("a", "b"):
        for done in (0, 50, 100):
            clock.now += 1
            display.update(replace(FILE, num_done=done, num_total=100, title=title))
    display.close()
    shown = [
        (line.split(" of ")[0], line.split(", ")[-1]) for line in stream.getvalue().split("\n")
    ]
    assert shown[:-1] == [("0 B", "a"), ("100 B", "a"), ("0 B", "b"), ("100 B", "b")]


def test_the_last_line_is_not_written_twice() -> None:
    stream = io.StringIO()
    display = LogProgress(stream, clock=Clock())
    display.update(STATE)
    display.close()
    display.update(STATE)
    assert len(stream.getvalue().splitlines()) == 1


def test_a_log_line_holds_every_number() -> None:
    stream = io.StringIO()
    display = LogProgress(stream, clock=Clock())
    display.update(STATE)
    assert stream.getvalue() == (
        "12/100 samples, 3.4/s, 0:00:26 left, 4 workers (1 died), 2 failed, mean e 123.5, "
        "smallest margin 0.0123 ± 0.0041 at reduce/node3/input\n"
    )


def test_a_log_line_of_a_job_without_workers_says_nothing_of_workers() -> None:
    stream = io.StringIO()
    LogProgress(stream, clock=Clock()).update(FILE)
    LogProgress(stream, clock=Clock()).update(
        replace(FILE, num_done=3, num_total=10, per_second=0.5, unit="architectures", title="t.bz2")
    )
    assert stream.getvalue().splitlines() == [
        "500 MB of 1.95 GB, 85.2 MB/s, 0:00:17 left, nasbench[full].tfrecord",
        "3/10 architectures, 30/min, 0:00:17 left, t.bz2",
    ]


def test_a_log_at_the_start_says_what_is_not_known_yet() -> None:
    stream = io.StringIO()
    LogProgress(stream, clock=Clock()).update(START)
    assert stream.getvalue() == (
        "0/100 samples, ?/s, ? left, 4 workers, mean e ?, smallest margin ?\n"
    )


def test_a_message_in_a_log_comes_after_the_state_before_it() -> None:
    stream = io.StringIO()
    display = LogProgress(stream, clock=Clock())
    display.update(STATE)
    display.update(replace(STATE, num_done=19))
    display.message("stopping, 20 of 100 samples stored")
    display.close()
    shown = [line.split("/")[0] for line in stream.getvalue().splitlines()]
    assert shown == ["12", "19", "stopping, 20 of 100 samples stored"]


def test_a_log_has_no_escape_codes_even_in_messages() -> None:
    stream, clock = io.StringIO(), Clock()
    display = LogProgress(stream, clock=clock)
    display.update(STATE)
    display.message("\x1b[31mworker 3\x1b[0m died:\n\x1b]0;x\x07 killed\r\n")
    clock.now += 60
    display.update(STATE)
    display.close()
    text = stream.getvalue()
    assert text.splitlines()[1] == "worker 3 died: killed"
    assert not [c for c in text if not c.isprintable() and c != "\n"]


@pytest.mark.parametrize(
    "state",
    [
        replace(STATE, smallest_margin=(HOSTILE, 0.1, 0.1)),
        replace(STATE, unit=HOSTILE),
        replace(FILE, title=HOSTILE),
    ],
)
def test_no_string_of_a_state_reaches_the_screen_raw(state: ProgressState) -> None:
    stream = io.StringIO()
    LogProgress(stream, clock=Clock()).update(state)
    lines = [stream.getvalue().removesuffix("\n"), *(t.plain for t in state_lines(state, 200))]
    assert all(line.isprintable() for line in lines)


def test_a_log_to_an_ascii_stream_survives() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    display = LogProgress(stream, clock=Clock())
    display.update(STATE)
    display.message("ν is 3")
    assert b"0.0123 +/- 0.0041" in raw.getvalue()
    assert raw.getvalue().endswith(b"? is 3\n")
