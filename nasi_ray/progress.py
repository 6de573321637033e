"""What a running search or ranking tells whoever watches it. Displays live in ``report``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressState:
    """A search at one moment."""

    num_done: int
    """Samples evaluated or found in the records."""
    num_total: int
    """Samples asked for."""
    num_failed: int
    """Samples recorded as failed, of those done."""
    samples_per_s: float | None
    """Rate over the last half minute; None until two samples have come."""
    eta_s: float | None
    """Seconds left at that rate; None while there is none."""
    num_workers: int
    """Workers alive."""
    num_worker_deaths: int
    """Workers lost since the search began."""
    mean_trace_norm: float | None
    """Mean e of the good samples so far; None while there is none."""
    smallest_margin: tuple[str, float, float] | None
    """Decision with the smallest margin of the current estimate, the margin between its first and
    second choice, and that margin's standard error; None while there is no estimate."""
    unit: str = "samples"
    """What is counted."""
    title: str | None = None
    """Said in place of mean e and smallest margin, where these do not apply."""


class Progress(Protocol):
    """A display of a running search."""

    def update(self, state: ProgressState) -> None:
        """Show the state; called at most a few times a second."""

    def message(self, text: str) -> None:
        """Tell one line that must not be lost (a worker died, a sample failed)."""

    def close(self) -> None:
        """Leave the terminal as it was; calling it twice does no harm."""
