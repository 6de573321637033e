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


_HANDLE_STRIDE = 1 << 48


def handle(series: int, index: int) -> int:
    """One number for a series of records and an index in it (< 2⁴⁸), for a runner of several."""
    return series * _HANDLE_STRIDE + index


def split_handle(given: int) -> tuple[int, int]:
    """Series and index of a ``handle``."""
    return divmod(given, _HANDLE_STRIDE)


class SeriesRunner(Generic[R]):
    """A runner of indices in one series, on a runner of handles that is used for all of them."""

    def __init__(self, runner: Runner[R], series: int) -> None:
        self._runner, self._series = runner, series

    def run(self, indices: Sequence[int]) -> Iterator[Sequence[R]]:
        """See ``Runner``."""
        return self._runner.run([handle(self._series, index) for index in indices])

    def status(self) -> RunnerStatus:
        """See ``Runner``."""
        return self._runner.status()

    def close(self) -> None:
        """Do nothing: the runner is used for the next series."""
