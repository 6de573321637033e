"""Displays of a job that goes through a known amount: a bar on a terminal, else plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from nasi_ray.display.formats import format_seconds, one_line
from nasi_ray.display.progress import TerminalProgress, make_progress


class Bar(Protocol):
    """A display of steps that follow each other."""

    def update(self, step: str, done: int, total: int) -> None:
        """Show how much of a step is done; as often as one likes."""

    def message(self, text: str) -> None:
        """Tell one line that must not be lost."""

    def close(self) -> None:
        """Leave the terminal as it was; calling it twice does no harm."""


def make_bar(stream: TextIO, *, environ: Mapping[str, str] | None = None) -> Bar:
    """The display that suits a stream, chosen as for a search's progress.

    Args:
        stream: Where to write, usually ``sys.stderr``; it stays open.
        environ: Environment variables; None: those of this process.
    """
    fits = isinstance(make_progress(stream, environ=environ), TerminalProgress)
    return TerminalBar(stream) if fits else LineBar(stream)


class LineBar:
    """Plain lines: the first and the last of a step, and one per interval in between."""

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
            interval_s: Shortest time between two lines of a step, in seconds.
            clock: Monotonic seconds.
        """
        self._stream = stream
        self._interval_s = interval_s
        self._clock = clock
        self._step = ""
        self._begun = self._shown_at = 0.0

    def update(self, step: str, done: int, total: int) -> None:
        """Write the state if the last line is ``interval_s`` old, or if it is the first or last."""
        now = self._clock()
        if step != self._step:
            self._step, self._begun = step, now
        elif done < total and now - self._shown_at < self._interval_s:
            return
        self._shown_at = now
        share = 100 * done // total if total else 100
        left = (now - self._begun) * (total - done) / done if done else None
        self.message(f"{step}: {share} %, {format_seconds(left)} left")

    def message(self, text: str) -> None:
        """Write one line at once."""
        line = one_line(text).encode(self._stream.encoding or "utf-8", "backslashreplace")
        self._stream.write(line.decode(self._stream.encoding or "utf-8") + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing is left to write."""


class TerminalBar:
    """A bar per step, drawn again in place; messages scroll by above."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Draw on ``stream``, a terminal, which stays open."""
        self._console = Console(file=stream, force_terminal=True, highlight=False, markup=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TimeRemainingColumn(),
            console=self._console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._clock = clock
        self._tasks: dict[str, TaskID] = {}
        self._shown_at = -1.0

    def update(self, step: str, done: int, total: int) -> None:
        """Draw the state, ten times a second at most."""
        if step not in self._tasks:
            self._progress.start()
            self._tasks[step] = self._progress.add_task(one_line(step), total=total)
        self._progress.update(self._tasks[step], completed=done, total=total)
        now = self._clock()
        if done >= total or now - self._shown_at >= 0.1:
            self._shown_at = now
            self._progress.refresh()

    def message(self, text: str) -> None:
        """Print one line above the bars; a long one is wrapped, not cut."""
        self._console.print(Text(one_line(text)), overflow="fold")

    def close(self) -> None:
        """Leave the bars as they are and show the cursor again."""
        self._progress.stop()


if TYPE_CHECKING:
    _terminal: Bar = TerminalBar(sys.stderr)
    _lines: Bar = LineBar(sys.stderr)
