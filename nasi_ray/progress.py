"""What a running job shows to the person who watches it. The displays are in ``display``."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

DISPLAY_INTERVAL_S = 0.5
"""Shortest time between two states that a job shows, in seconds."""

_RATE_WINDOW_S = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressState:
    """A job at one moment."""

    num_done: int
    """What is done, in ``unit``; for a search including the samples found in the records."""
    num_total: int
    """What there is to do, in ``unit``."""
    num_failed: int = 0
    """How many of those done are recorded as failed."""
    per_second: float | None = None
    """Units per second over the last half minute; None if not known yet."""
    eta_s: float | None = None
    """Seconds left at that rate; None if not known yet."""
    num_workers: int | None = None
    """Workers alive; None for a job that has no workers."""
    num_worker_deaths: int = 0
    """Workers lost since the job began."""
    mean_trace_norm: float | None = None
    """Mean e of the good samples so far; None while there is no good sample."""
    smallest_margin: tuple[str, float, float] | None = None
    """Decision with the smallest margin of the current estimate, the margin between its first and
    second choice, and that margin's standard error; None while there is no estimate."""
    unit: str = "samples"
    """What is counted. ``bytes`` are shown as kB, MB, ..."""
    title: str | None = None
    """Shown in place of mean e and smallest margin by jobs that have neither."""


class Progress(Protocol):
    """A display of a running job."""

    def update(self, state: ProgressState) -> None:
        """Show the state; called at most a few times a second."""

    def message(self, text: str) -> None:
        """Show one line that must not be lost (a worker died, a sample failed)."""

    def close(self) -> None:
        """Leave the terminal as it was; calling it twice does no harm."""


class Silent:
    """A display that shows nothing."""

    def update(self, state: ProgressState) -> None:
        """Show nothing."""

    def message(self, text: str) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Do nothing."""


class Rate:
    """How fast a count grows, measured over the last half minute."""

    def __init__(self, num_done: int, now: float) -> None:
        """Begin to measure.

        Args:
            num_done: The count at the beginning.
            now: The time, in seconds.
        """
        self._counts: deque[tuple[float, int]] = deque([(now, num_done)])

    def update(
        self, num_done: int, num_total: int, now: float
    ) -> tuple[float | None, float | None]:
        """Add a count.

        Args:
            num_done: The count now.
            num_total: The count at the end.
            now: The time, in seconds.

        Returns:
            Growth per second, and seconds left at that rate; each None while nothing was added.
        """
        self._counts.append((now, num_done))
        while len(self._counts) > 2 and now - self._counts[0][0] > _RATE_WINDOW_S:
            self._counts.popleft()
        since, before = self._counts[0]
        if num_done <= before or now <= since:
            return None, None
        per_second = (num_done - before) / (now - since)
        return per_second, (num_total - num_done) / per_second


class LoopProgress:
    """Shows the progress of a loop without workers: call it with the number done and the total."""

    def __init__(
        self,
        progress: Progress,
        *,
        unit: str,
        title: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin.

        Args:
            progress: Where to show it.
            unit: What is counted.
            title: What the display shows beside the numbers.
            clock: Monotonic seconds.
        """
        self._progress, self._unit, self._title, self._clock = progress, unit, title, clock
        self._next_display = clock()
        self._rate = Rate(0, self._next_display)

    def __call__(self, num_done: int, num_total: int) -> None:
        """Show the first state, the last one, and at most two a second in between."""
        now = self._clock()
        if num_done < num_total and now < self._next_display:
            return
        self._next_display = now + DISPLAY_INTERVAL_S
        per_second, eta_s = self._rate.update(num_done, num_total, now)
        self._progress.update(
            ProgressState(
                num_done=num_done,
                num_total=num_total,
                per_second=per_second,
                eta_s=eta_s,
                unit=self._unit,
                title=self._title,
            )
        )
