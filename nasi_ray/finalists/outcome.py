"""What became of a finalist, and which one is the answer. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one finalist."""

    valid_accuracy: float | None = None
    """After its last epoch, in percent; None: no epoch was completed."""
    epochs: int | None = 0
    """Epochs it was trained; None: the table does not state them."""
    is_stopped: bool = False
    """Whether it was stopped early, since others were better after as many epochs."""
    failure: str | None = None
    """Why its training failed; None: it did not."""
    seconds: float = 0.0
    """Of training and validation, of one worker; 0 of a table."""
    run: str | None = None
    """Run directory of its training; None of a table."""

    def to_dict(self) -> dict[str, Any]:
        """For ``finalists.json``."""
        found: dict[str, Any] = {
            "valid_accuracy": self.valid_accuracy,
            "epochs": self.epochs,
            "is_stopped": self.is_stopped,
        }
        if self.failure is not None:
            found["failure"] = self.failure
        return found if self.run is None else {**found, "run": self.run, "seconds": self.seconds}


def best_of(outcomes: Sequence[Outcome]) -> int | None:
    """The answer: the best validation accuracy of those that were trained to the end.

    Args:
        outcomes: Of finalists, in the order of their scores.

    Returns:
        Its position; of equal accuracies the one with the better score; None if all failed.
    """
    best: tuple[float, int] | None = None
    for position, one in enumerate(outcomes):
        if one.is_stopped or one.failure is not None or one.valid_accuracy is None:
            continue
        if best is None or one.valid_accuracy > best[0]:
            best = one.valid_accuracy, position
    return None if best is None else best[1]
