"""The pool's limits, and the rules about time and call length that follow from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

_EMA_WEIGHT = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolPolicy:
    """How a pool gives out work and when it gives up."""

    max_in_flight: int = 2
    """Calls that one worker has at a time: one running, the others waiting behind it."""
    chunk_s: float = 0.75
    """Intended length of a call, in seconds."""
    max_chunk: int = 64
    """Most samples in one call."""
    max_attempts: int = 3
    """Failed evaluations of a sample (it raised, or its worker died) before its final retries."""
    max_final_retries: int = 3
    """Further evaluations, once nothing else is left to do, each after a time in which no worker
    died, so that no sample is given up when workers die for another reason."""
    min_stable_s: float = 2.0
    """That time before the first final retry, in seconds; it doubles with each retry."""
    max_failures_in_row: int = 5
    """Rounds of failures with no result in between before the run gives up."""
    max_worker_errors: int = 2
    """Samples that may fail in a row on one worker before a fresh worker replaces it."""
    max_device_failures: int = 4
    """Different samples, calls or workers that may fail in a row on one device (a node or GPU)
    before it is quarantined, if other devices work."""
    quarantine_s: float = 60.0
    """Length of a device's first quarantine, in seconds; it doubles with each one."""
    grace_s: float = 900.0
    """How long not to give up, in seconds, while calls that ran before the failures began may still
    return results."""
    straggler_factor: float = 2.0
    """At the end of a run, a call gets a backup once it takes this many times the expected time."""
    capacity_timeout_s: float = 120.0
    """How long to wait with no worker at all, in seconds."""

    @property
    def max_total_attempts(self) -> int:
        """Most evaluations of a sample, final retries included."""
        return self.max_attempts + self.max_final_retries


def chunk_length(policy: PoolPolicy, sample_s: float | None, num_queued: int, workers: int) -> int:
    """Decide how many samples the next call gets.

    clamp(chunk_s / sample_s, 1, max_chunk), and near the end no more than a worker's share,
    ⌈num_queued / (max_in_flight · workers)⌉.

    Args:
        policy: The limits.
        sample_s: Seconds one sample takes; None while unknown, which gives 1.
        num_queued: Samples left to give out.
        workers: Workers that are ready.

    Returns:
        At least 1.
    """
    if sample_s is None:
        return 1
    wanted = policy.max_chunk if sample_s <= 0 else int(policy.chunk_s / sample_s)
    share = math.ceil(num_queued / (policy.max_in_flight * max(workers, 1)))
    return max(1, min(wanted, policy.max_chunk, share))


class Pace:
    """How long a sample takes: an exponential moving average over calls."""

    def __init__(self, policy: PoolPolicy) -> None:
        self._policy = policy
        self.sample_s: float | None = None
        """Seconds per sample; None before the first result."""

    def learn(self, seconds: float, num_samples: int) -> None:
        """Add a call that took so many seconds for so many samples."""
        if num_samples:
            new, old = seconds / num_samples, self.sample_s
            self.sample_s = new if old is None else old + _EMA_WEIGHT * (new - old)

    def late_s(self, num_samples: int) -> float:
        """Seconds after which a running call of so many samples is late; ∞ while unknown."""
        if self.sample_s is None:
            return math.inf
        expected_s = max(num_samples * self.sample_s, self._policy.chunk_s)
        return self._policy.straggler_factor * expected_s


class HoldTimer:
    """Measures for how long a condition has held without interruption."""

    def __init__(self) -> None:
        self._began: float | None = None

    def update(self, holds: bool, now: float) -> float:
        """Report whether the condition holds; returns the seconds it has held, 0 if it does not."""
        if not holds:
            self._began = None
        elif self._began is None:
            self._began = now
        return 0.0 if self._began is None else now - self._began

    def reset(self) -> None:
        """Start measuring again: the condition was interrupted."""
        self._began = None
