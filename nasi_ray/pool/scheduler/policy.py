"""The numbers that govern the worker pool, and the pure rules made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nasi_ray.pool.scheduler.failures import Failure, FailureRow

_EMA_WEIGHT = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolPolicy:
    """How a pool gives out work and when it gives up."""

    max_in_flight: int = 2
    """Calls of one worker at a time: one running, the rest waiting behind it."""
    chunk_s: float = 0.75
    """Length a call is aimed at, in seconds."""
    max_chunk: int = 64
    """Samples of one call at most."""
    max_attempts: int = 3
    """Evaluations of a sample that may fail or take their worker with them, at first."""
    max_appeals: int = 3
    """Further ones once nothing else is to do, each after a time in which no worker died, so that
    no sample is given up for what a storm did to its workers."""
    calm_s: float = 2.0
    """That time before the first of them, in seconds; it doubles from one to the next."""
    max_failures_in_row: int = 5
    """Rounds of failures with no result in between before the run gives up."""
    max_worker_errors: int = 2
    """Samples that may fail in a row on one worker before it is replaced by a fresh one."""
    max_failures_of_place: int = 4
    """Different things that may fail in a row on one node or GPU before it gets a pause, if others
    work."""
    place_pause_s: float = 60.0
    """Length of its first pause, in seconds; it doubles from one to the next."""
    patience_s: float = 900.0
    """How long not to give up, in seconds, while calls that ran before the failures began may still
    have results."""
    straggler_factor: float = 2.0
    """A running call is doubled at the tail once it takes this many times what was expected."""
    capacity_timeout_s: float = 120.0
    """How long to wait with no worker at all, in seconds."""

    @property
    def max_in_all(self) -> int:
        """Evaluations of a sample at most, appeals included."""
        return self.max_attempts + self.max_appeals


def chunk_length(policy: PoolPolicy, sample_s: float | None, backlog: int, workers: int) -> int:
    """Decide how many samples the next call gets.

    clamp(chunk_s / sample_s, 1, max_chunk), and at the tail no more than a worker's share,
    ⌈backlog / (max_in_flight · workers)⌉.

    Args:
        policy: The limits.
        sample_s: Seconds one sample takes; None while unknown, which gives 1.
        backlog: Samples to give out.
        workers: Workers that take work (≥ 1).

    Returns:
        At least 1.
    """
    if sample_s is None:
        return 1
    wanted = policy.max_chunk if sample_s <= 0 else int(policy.chunk_s / sample_s)
    share = math.ceil(backlog / (policy.max_in_flight * max(workers, 1)))
    return max(1, min(wanted, policy.max_chunk, share))


class Pace:
    """How long a sample takes: an exponential mean over calls."""

    def __init__(self, policy: PoolPolicy) -> None:
        self._policy = policy
        self.sample_s: float | None = None
        """Seconds per sample; None until a call has come back."""

    def learn(self, seconds: float, num_samples: int) -> None:
        """Take note of a call that took so long for so many samples."""
        if num_samples:
            new, old = seconds / num_samples, self.sample_s
            self.sample_s = new if old is None else old + _EMA_WEIGHT * (new - old)

    def late_s(self, num_samples: int) -> float:
        """Seconds after which a running call of so many samples is late; ∞ while unknown."""
        if self.sample_s is None:
            return math.inf
        expected_s = max(num_samples * self.sample_s, self._policy.chunk_s)
        return self._policy.straggler_factor * expected_s


class Since:
    """For how long a condition has held without a break."""

    def __init__(self) -> None:
        self._began: float | None = None

    def update(self, holds: bool, now: float) -> float:
        """Take note of the condition; returns the seconds it has held, 0 if it does not."""
        if not holds:
            self._began = None
        elif self._began is None:
            self._began = now
        return 0.0 if self._began is None else now - self._began

    def break_off(self) -> None:
        """It did not hold just now."""
        self._began = None


class Breaker:
    """Tells a broken set-up from bad luck: counts rounds of failures with no result in between.

    Once other samples have worked, it takes failures of that many different samples that had not
    failed before, so that bad ones cannot stop a run.
    """

    def __init__(self, max_in_row: int) -> None:
        self._max_in_row = max_in_row
        self._row = FailureRow()
        self._has_succeeded = False

    @property
    def began(self) -> int | None:
        """Event number of the first failure in the row; None while there is none."""
        return self._row.began

    @property
    def is_in_doubt(self) -> bool:
        """Whether a second failure followed the first, so that other samples should be tried."""
        return self._row.num_rounds >= 2

    def start(self) -> None:
        """Begin a run anew."""
        self._has_succeeded = False
        self._row.clear()

    def succeeded(self) -> None:
        """A result arrived."""
        self._has_succeeded = True
        self._row.clear()

    def failed(self, failure: Failure, *, is_known: bool = False) -> bool:
        """Count a failure.

        Args:
            failure: What failed.
            is_known: The same sample has failed before.

        Returns:
            True if it is time to give up.
        """
        if (is_known and self._has_succeeded) or not self._row.count(failure):
            return False
        num = self._row.num_causes if self._has_succeeded else self._row.num_rounds
        return num >= self._max_in_row
