"""Displays of a running search: a bar on a terminal, plain lines everywhere else."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, ConsoleDimensions, Group
from rich.live import Live
from rich.text import Text

from nasi_ray.display.formats import (
    format_number,
    format_rate,
    format_seconds,
    format_uncertain,
    one_line,
    plural,
)
from nasi_ray.progress import Progress, ProgressState

_GLYPHS = "━─±…"
_MAX_BAR, _MIN_BAR = 40, 8
_DEFAULT_SIZE = (80, 24)


def make_progress(stream: TextIO, *, environ: Mapping[str, str] | None = None) -> Progress:
    """The display that suits a stream.

    A terminal gets the bar, unless ``TERM`` is ``dumb``, ``CI`` is set, or its encoding has no
    line-drawing characters; ``NO_COLOR`` keeps the bar and takes the colours away. Anything else
    (a file, a pipe, the log of a Ray job) gets plain lines.

    Args:
        stream: Where to write, usually ``sys.stderr``; it stays open.
        environ: Environment variables; None: those of this process.
    """
    environ = os.environ if environ is None else environ
    in_ci = environ.get("CI", "").lower() not in ("", "0", "false")
    dumb = environ.get("TERM", "").lower() in ("dumb", "unknown")
    if in_ci or dumb or not stream.isatty() or not _can_write(stream, _GLYPHS):
        return LogProgress(stream)
    return TerminalProgress(stream, color=not environ.get("NO_COLOR"))


class LogProgress:
    """Plain lines without escape codes, at most one per interval beside the first and the last.

    A message comes after the state that was there before it.
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
        self._pending: ProgressState | None = None
        self._closed = False

    def update(self, state: ProgressState) -> None:
        """Write the state if the last line is ``interval_s`` old; else keep it for the next one."""
        if self._closed:
            return
        now = self._clock()
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
            self._write(", ".join([*_speed_parts(self._pending), *_detail_parts(self._pending)]))
        self._pending = None

    def _write(self, line: str) -> None:
        if not _can_write(self._stream, line):
            line = line.replace("±", "+/-").encode("ascii", "replace").decode()
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
        size = _terminal_size(self._stream)
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
    """Three lines for a terminal, each at most ``width`` columns.

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
    *details, margin = _detail_parts(state)
    second, third = Text(", ".join(details)), Text(margin)
    for line in (first, second, third):
        line.no_wrap = True
        line.truncate(max(1, width), overflow="ellipsis")
    return [first, second, third]


def _speed_parts(state: ProgressState, *, has_unit: bool = True) -> list[str]:
    return [
        f"{state.num_done}/{state.num_total}" + has_unit * f" {state.unit}",
        format_rate(state.samples_per_s),
        f"{format_seconds(state.eta_s)} left",
    ]


def _detail_parts(state: ProgressState) -> list[str]:
    workers = plural(state.num_workers, "worker")
    if state.num_worker_deaths:
        workers += f" ({state.num_worker_deaths} died)"
    parts = [workers]
    if state.num_failed:
        parts.append(f"{state.num_failed} failed")
    if state.title is not None:
        return [*parts, state.title]
    parts.append(f"mean e {format_number(state.mean_trace_norm)}")
    if state.smallest_margin is None:
        return [*parts, "smallest margin ?"]
    decision, margin, error = state.smallest_margin
    return [*parts, f"smallest margin {format_uncertain(margin, error)} at {decision}"]


def _terminal_size(stream: TextIO) -> tuple[int, int]:
    # rich asks about the process's own three streams, which may be files while this one is not.
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return _DEFAULT_SIZE
    # A terminal that was never told its size says 0.
    return columns or _DEFAULT_SIZE[0], lines or _DEFAULT_SIZE[1]


def _can_write(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


if TYPE_CHECKING:
    _terminal: Progress = TerminalProgress(sys.stderr)
    _log: Progress = LogProgress(sys.stderr)
