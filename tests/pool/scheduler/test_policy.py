from __future__ import annotations

import pytest

from nasi_ray.pool.scheduler.failures import Failure
from nasi_ray.pool.scheduler.policy import Breaker, PoolPolicy, Since, chunk_length


@pytest.mark.parametrize(
    ("sample_s", "backlog", "workers", "expected"),
    [
        (None, 1000, 2, 1),
        (0.05, 1000, 2, 15),
        (2.0, 1000, 2, 1),
        (0.001, 10_000, 2, 64),
        (0.0, 10_000, 2, 64),
        (0.05, 20, 2, 5),
        (0.05, 1, 2, 1),
        (0.05, 0, 0, 1),
    ],
)
def test_chunk_length_follows_pace_and_share(
    sample_s: float | None, backlog: int, workers: int, expected: int
) -> None:
    assert chunk_length(PoolPolicy(), sample_s, backlog, workers) == expected


def test_breaker_gives_up_after_five_rounds_if_nothing_ever_worked() -> None:
    breaker = Breaker(5)
    breaker.start()
    outcomes = [breaker.failed(Failure("same", event, event)) for event in range(5)]
    assert outcomes == [False] * 4 + [True]


def test_breaker_wants_different_samples_once_something_worked() -> None:
    breaker = Breaker(5)
    breaker.start()
    breaker.succeeded()
    assert not any(breaker.failed(Failure("same", event, event)) for event in range(50))
    outcomes = [breaker.failed(Failure(event, event, event)) for event in range(50, 54)]
    assert outcomes == [False] * 3 + [True]


def test_breaker_counts_failures_of_one_round_once() -> None:
    breaker = Breaker(5)
    breaker.start()
    assert not any(breaker.failed(Failure(event, 0, 10 + event)) for event in range(100))


def test_once_something_worked_only_what_had_not_failed_before_counts() -> None:
    breaker = Breaker(2)
    breaker.start()
    assert not breaker.failed(Failure("a", 0, 0), is_known=True)
    assert breaker.failed(Failure("a", 1, 1), is_known=True)
    breaker.succeeded()
    assert not any(breaker.failed(Failure(e, e, e), is_known=True) for e in range(2, 50))
    assert not breaker.failed(Failure("a", 50, 50))
    assert breaker.failed(Failure("b", 51, 51))


def test_a_condition_that_breaks_off_begins_anew() -> None:
    since = Since()
    assert since.update(True, 5.0) == 0.0
    assert since.update(True, 8.0) == 3.0
    assert since.update(False, 9.0) == 0.0
    assert since.update(True, 10.0) == 0.0
    since.break_off()
    assert since.update(True, 12.0) == 0.0
    assert since.update(True, 13.0) == 1.0
