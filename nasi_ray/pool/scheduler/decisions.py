"""What the scheduler decides, as plain values that the pool carries out."""

from __future__ import annotations

from dataclasses import dataclass

from nasi_ray.pool.scheduler.failures import Failure


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Request one more worker from the cluster."""

    worker: int
    """Its number, never used before."""


@dataclass(frozen=True, slots=True)
class RetireWorker:
    """End a worker; anything it still sends is ignored."""

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
    def after(cls, num_attempts: int, index: int, last_reason: str) -> FailSample:
        """A sample of which so many attempts failed."""
        return cls(index, f"{num_attempts} attempts failed; {last_reason}")


@dataclass(frozen=True, slots=True)
class OutOfCapacity:
    """End the run: there has been no worker for longer than the policy allows."""

    waited_s: float


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Report that a device gets no work for a while, because everything fails on it."""

    device: str
    """Name of the node or GPU."""
    seconds: float
    reason: str
    """Why its last call failed, in one line."""

    def __str__(self) -> str:
        return (
            f"{self.device} keeps failing while others work; it gets no work for "
            f"{self.seconds:.0f} s; its last error: {self.reason}"
        )


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the run: workers or samples keep failing, or results contradict each other."""

    reason: str
    """One line."""
    is_contradiction: bool = False
    """Two results of one sample differ; another attempt would not help."""

    @classmethod
    def failures(cls, num: int, last: Failure) -> GiveUp:
        """So many failures in a row."""
        return cls(
            f"{num} attempts failed in a row, the last with: {last.reason}; check the workers and "
            "their nodes, then run the same command again"
        )

    @classmethod
    def unequal(cls, index: int) -> GiveUp:
        """Two results of a sample differ."""
        reason = (
            f"sample {index} gave two different results: the workers' devices or versions differ, "
            "or its evaluation is not deterministic; use workers of one kind with the same versions"
        )
        return cls(reason, is_contradiction=True)


@dataclass(frozen=True, slots=True)
class Finished:
    """Every sample has a result or has failed for good."""


Decision = (
    StartWorker
    | RetireWorker
    | SubmitCall
    | FailSample
    | Quarantine
    | OutOfCapacity
    | GiveUp
    | Finished
)
