"""What the scheduler decides, as plain values that the pool carries out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Ask the cluster for one more worker."""

    worker: int
    """Its number, never used before."""


@dataclass(frozen=True, slots=True)
class RetireWorker:
    """End a worker; nothing it still sends is wanted."""

    worker: int


@dataclass(frozen=True, slots=True)
class SubmitCall:
    """Give a worker samples to evaluate."""

    call: int
    """Number of the call, never used before."""
    worker: int
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FailSample:
    """Record a sample as failed."""

    index: int
    reason: str
    """One line."""


@dataclass(frozen=True, slots=True)
class OutOfCapacity:
    """End the run: there has been no worker for longer than is allowed."""

    waited_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the run: workers or samples keep failing, or results contradict each other."""

    reason: str
    """One line."""
    is_contradiction: bool = False
    """Two results of one sample differ, which no other attempt would mend."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Every sample has its result or its verdict."""


Decision = StartWorker | RetireWorker | SubmitCall | FailSample | OutOfCapacity | GiveUp | Finished
