"""What the scheduler decides, as plain values that the pool carries out."""

from __future__ import annotations

from dataclasses import dataclass

from nasi_ray.pool.scheduler.failures import Failure


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

    @classmethod
    def after(cls, num_attempts: int, index: int, last: str) -> FailSample:
        """So many attempts failed."""
        return cls(index, f"{num_attempts} attempts failed; {last}")


@dataclass(frozen=True, slots=True)
class OutOfCapacity:
    """End the run: there has been no worker for longer than is allowed."""

    waited_s: float


@dataclass(frozen=True, slots=True)
class PausePlace:
    """Tell that a node or GPU gets no work for a while: it fails whatever it is given."""

    place: str
    seconds: float
    reason: str
    """Of its last failure, in one line."""

    def __str__(self) -> str:
        return (
            f"{self.place} keeps failing while others work; no work for it for "
            f"{self.seconds:.0f} s; {self.reason}"
        )


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the run: workers or samples keep failing, or results contradict each other."""

    reason: str
    """One line."""
    is_contradiction: bool = False
    """Two results of one sample differ, which no other attempt would mend."""

    @classmethod
    def failures(cls, num: int, last: Failure) -> GiveUp:
        """So many failures in a row."""
        return cls(f"{num} failures in a row with no result in between; the last: {last.reason}")

    @classmethod
    def unequal(cls, index: int) -> GiveUp:
        """Two results of a sample differ."""
        reason = (
            f"sample {index} gave two different results; its evaluation depends on more than its "
            "index, or the workers' devices or versions differ"
        )
        return cls(reason, is_contradiction=True)


@dataclass(frozen=True, slots=True)
class Finished:
    """Every sample has its result or its verdict."""


Decision = (
    StartWorker
    | RetireWorker
    | SubmitCall
    | FailSample
    | PausePlace
    | OutOfCapacity
    | GiveUp
    | Finished
)
