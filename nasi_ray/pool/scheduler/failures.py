"""Failures, and when so many follow each other that the run should end."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Failure:
    """Something failed."""

    cause: Hashable
    """The sample, call or worker that failed."""
    began_event: int
    """Event number at which it began."""
    event: int
    """Event number of the failure."""
    reason: str = ""
    """One line."""


@dataclass(slots=True)
class FailureStreak:
    """Failures with no result in between.

    Failures that happen together (say, the workers of a lost node) are one round: a failure counts
    only if what failed began after the last one that counted.
    """

    num_rounds: int = 0
    """Failures that counted."""
    first_event: int | None = None
    """Event number of the first failure; None while there is none."""
    _causes: set[Hashable] = field(default_factory=set)
    _counted_event: int = -1

    @property
    def num_causes(self) -> int:
        """Different causes among the failures that counted."""
        return len(self._causes)

    def count(self, failure: Failure) -> bool:
        """Add a failure; returns whether it counts."""
        if failure.began_event < self._counted_event:
            return False
        self._counted_event = failure.event
        self.first_event = failure.event if self.first_event is None else self.first_event
        self.num_rounds += 1
        self._causes.add(failure.cause)
        return True

    def clear(self) -> None:
        """End the streak: a result arrived."""
        self.num_rounds, self.first_event, self._counted_event = 0, None, -1
        self._causes.clear()


class CircuitBreaker:
    """Tells a broken setup from bad luck by counting rounds of failures with no result in between.

    Before the first result, ``max_in_row`` rounds are enough to give up. After it, they must be
    failures of that many different samples that had not failed before, so that a few bad samples
    cannot stop a run.
    """

    def __init__(self, max_in_row: int) -> None:
        self._max_in_row = max_in_row
        self._streak = FailureStreak()
        self._has_succeeded = False

    @property
    def first_event(self) -> int | None:
        """Event number of the streak's first failure; None while there is none."""
        return self._streak.first_event

    @property
    def is_suspicious(self) -> bool:
        """Whether two rounds have failed in a row, so that other samples should be tried."""
        return self._streak.num_rounds >= 2

    def reset(self) -> None:
        """Begin a new run."""
        self._has_succeeded = False
        self._streak.clear()

    def succeeded(self) -> None:
        """Note that a result arrived."""
        self._has_succeeded = True
        self._streak.clear()

    def failed(self, failure: Failure, *, is_repeat: bool = False) -> bool:
        """Count a failure.

        Args:
            failure: What failed.
            is_repeat: The same sample has failed before.

        Returns:
            True if it is time to give up.
        """
        if (is_repeat and self._has_succeeded) or not self._streak.count(failure):
            return False
        num = self._streak.num_causes if self._has_succeeded else self._streak.num_rounds
        return num >= self._max_in_row
