"""Runners evaluate samples: their interface, and the one that needs no Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerStatus:
    """What a progress display shows of the workers."""

    num_alive: int
    """Workers able to take work now."""
    num_starting: int = 0
    """Workers requested that are not up yet."""
    num_deaths: int = 0
    """Workers lost since the run began."""
    num_requeued: int = 0
    """Samples given out again because their worker was lost."""


class Runner(Protocol[R_co]):
    """Maps sample indices to results; each runner decides where and in what order."""

    def run(self, indices: Sequence[int]) -> Iterator[Sequence[R_co]]:
        """Evaluate every index once.

        Yields:
            Results in order of arrival. An empty batch comes at least about every second, so
            that the caller can store, report and stop in the meantime.
        """

    def status(self) -> RunnerStatus:
        """The workers as they are now."""

    def close(self) -> None:
        """Release the workers; calling it twice does no harm."""


class InProcessRunner(Generic[R]):
    """Evaluates in this process, one sample after the other; no Ray."""

    def __init__(self, evaluate: Callable[[int], R]) -> None:
        self._evaluate = evaluate

    def run(self, indices: Sequence[int]) -> Iterator[Sequence[R]]:
        """Evaluate in the order given, one result a batch."""
        for index in indices:
            yield [self._evaluate(index)]

    def status(self) -> RunnerStatus:
        """Always one worker."""
        return RunnerStatus(num_alive=1)

    def close(self) -> None:
        """Nothing to release."""
