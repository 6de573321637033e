"""What fails, and how many different things have failed in a row."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Failure:
    """Something failed."""

    what: Hashable
    """The sample, call or worker; failures of one are of one cause."""
    began: int
    """Event number at which it was begun."""
    event: int
    """Event number of the failure."""
    reason: str = ""
    """One line."""


@dataclass(slots=True)
class FailureRow:
    """Failures with no result in between.

    What falls together (workers of a lost node) is one round: a failure counts only if what failed
    began after the last one that counted.
    """

    num_rounds: int = 0
    """Failures that counted."""
    began: int | None = None
    """Event number of the first; None while there is none."""
    _causes: set[Hashable] = field(default_factory=set)
    _counted_at: int = -1

    @property
    def num_causes(self) -> int:
        """Different things that have failed."""
        return len(self._causes)

    def count(self, failure: Failure) -> bool:
        """Take a failure; whether it counts."""
        if failure.began < self._counted_at:
            return False
        self._counted_at = failure.event
        self.began = failure.event if self.began is None else self.began
        self.num_rounds += 1
        self._causes.add(failure.what)
        return True

    def clear(self) -> None:
        """A result arrived."""
        self.num_rounds, self.began, self._counted_at = 0, None, -1
        self._causes.clear()
