"""Displays of a running job: a bar on a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, ConsoleDimensions, Group
from rich.live import Live
from rich.text import Text

from nasi_ray.display.formats import (
    format_bytes,
    format_number,
    format_rate,
    format_seconds,
    format_uncertain,
    one_line,
    plural,
)
from nasi_ray.display.terminal import can_write, is_capable, terminal_size, wants_color
from nasi_ray.progress import Progress, ProgressState

_MAX_BAR, _MIN_BAR = 40, 8


def make_progress(stream: TextIO, *, environ: Mapping[str, str] | None = None) -> Progress:
    """The display that suits a stream.

    A capable terminal gets the bar (``terminal.is_capable``); ``NO_COLOR`` takes its colours away.
    Anything else (a file, a pipe, the log of a Ray job, CI) gets plain lines.

    Args:
        stream: Where to write, usually ``sys.stderr``; it stays open.
        environ: Environment variables; None: those of this process.
    """
    if not is_capable(stream, environ=environ):
        return LogProgress(stream)
    return TerminalProgress(stream, color=wants_color(stream, environ=environ))


class LogProgress:
    """Plain lines without escape codes: the first and the last state, and one per interval.

    A job that goes through several titles gets the first and the last state of each. A message
    comes after the state before it.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        interval_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write to ``stream``, which stays open.

        Args:
            stream: Where to write.
            interval_s: Shortest time between two lines about the state, in seconds.
            clock: Monotonic seconds.
        """
        self._stream = stream
        self._interval_s = interval_s
        self._clock = clock
        self._shown_at: float | None = None
        self._title: str | None = None
        self._pending: ProgressState | None = None
        self._closed = False

    def update(self, state: ProgressState) -> None:
        """Write the state if the last line is ``interval_s`` old; else keep it for the next one."""
        if self._closed:
            return
        now = self._clock()
        if state.title != self._title:
            self._show_pending()
            self._title, self._shown_at = state.title, None
        self._pending = state
        if self._shown_at is None or now - self._shown_at >= self._interval_s:
            self._shown_at = now
            self._show_pending()

    def message(self, text: str) -> None:
        """Write one line at once, after the state that came before it."""
        self._show_pending()
        self._write(one_line(text))

    def close(self) -> None:
        """Write the last state if it is not written yet."""
        self._show_pending()
        self._closed = True

    def _show_pending(self) -> None:
        if self._pending is not None:
            self._write(_log_line(self._pending))
        self._pending = None

    def _write(self, line: str) -> None:
        if not can_write(self._stream, line):
            encoding = self._stream.encoding
            line = line.replace("±", "+/-").encode(encoding, "replace").decode(encoding)
        self._stream.write(line + "\n")
        self._stream.flush()


class TerminalProgress:
    """A bar and two lines of numbers, drawn again in place; messages scroll by above them.

    The cursor is hidden from the first update until ``close``. The last state stays on screen.
    """

    def __init__(self, stream: TextIO, *, color: bool = True) -> None:
        """Draw on ``stream``, a terminal, which stays open.

        Args:
            stream: Where to draw.
            color: False: no colours (bold stays).
        """
        self._stream = stream
        self._console = Console(
            file=stream,
            force_terminal=True,
            force_interactive=True,
            force_jupyter=False,
            no_color=not color,
            highlight=False,
            emoji=False,
            markup=False,
        )
        self._live: Live | None = None
        self._closed = False

    def update(self, state: ProgressState) -> None:
        """Draw the state."""
        if self._closed:
            return
        width, height = self._fit()
        if self._live is None:
            self._live = self._start()
        # The last column stays empty: some terminals break the line when it is written.
        lines = state_lines(state, width - 1)
        self._live.update(Group(*lines[: max(1, height - 1)]), refresh=True)

    def message(self, text: str) -> None:
        """Print one line above the bar; a long one is wrapped, not cut."""
        self._fit()
        self._console.print(Text(one_line(text)), overflow="fold")

    def close(self) -> None:
        """Leave the last state on screen and show the cursor again."""
        if self._live is not None and not self._closed:
            self._live.stop()
        self._closed = True

    def _fit(self) -> tuple[int, int]:
        size = terminal_size(self._stream)
        self._console.size = ConsoleDimensions(*size)
        return size

    def _start(self) -> Live:
        live = Live(
            console=self._console,
            auto_refresh=False,
            # What others print would tear the bar, but what goes to a file must still go there.
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
            redirect_stderr=sys.stderr is not None and sys.stderr.isatty(),
        )
        live.start()
        return live


def state_lines(state: ProgressState, width: int) -> list[Text]:
    """Two or three lines for a terminal, each at most ``width`` columns.

    Args:
        state: What to show.
        width: Columns; below about 60 the ends of lines are cut with an ellipsis.
    """
    numbers = "  ".join(_speed_parts(state, has_unit=False))
    bar_width = min(_MAX_BAR, width - len(numbers) - 2)
    first = Text()
    if bar_width >= _MIN_BAR:
        done = min(1.0, state.num_done / max(1, state.num_total))
        filled = int(bar_width * done)
        style = "green" if done >= 1 else "cyan"
        first.append("━" * filled, style=style).append("─" * (bar_width - filled), style="dim")
        first.append("  ")
    first.append(numbers, style="bold")
    details = [", ".join(_worker_parts(state)), ", ".join(_subject_parts(state))]
    lines = [first, *(Text(line) for line in details if line)]
    for line in lines:
        line.no_wrap = True
        line.truncate(max(1, width), overflow="ellipsis")
    return lines


def _log_line(state: ProgressState) -> str:
    return ", ".join([*_speed_parts(state), *_worker_parts(state), *_subject_parts(state)])


def _speed_parts(state: ProgressState, *, has_unit: bool = True) -> list[str]:
    if state.unit == "bytes":
        count = f"{format_bytes(state.num_done)} of {format_bytes(state.num_total)}"
        rate = f"{format_bytes(state.per_second)}/s"
    else:
        count = f"{state.num_done}/{state.num_total}" + has_unit * f" {one_line(state.unit)}"
        rate = format_rate(state.per_second)
    return [count, rate, f"{format_seconds(state.eta_s)} left"]


def _worker_parts(state: ProgressState) -> list[str]:
    parts = []
    if state.num_workers is not None:
        died = f" ({state.num_worker_deaths} died)" if state.num_worker_deaths else ""
        parts.append(plural(state.num_workers, "worker") + died)
    if state.num_failed:
        parts.append(f"{state.num_failed} failed")
    if state.title is None:
        parts.append(f"mean e {format_number(state.mean_trace_norm)}")
    return parts


def _subject_parts(state: ProgressState) -> list[str]:
    if state.title is not None:
        return [one_line(state.title)] if state.title else []
    if state.smallest_margin is None:
        return ["smallest margin ?"]
    decision, margin, error = state.smallest_margin
    return [f"smallest margin {format_uncertain(margin, error)} at {one_line(decision)}"]


if TYPE_CHECKING:
    _terminal: Progress = TerminalProgress(sys.stderr)
    _log: Progress = LogProgress(sys.stderr)
