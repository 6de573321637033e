from __future__ import annotations

import pytest

from nasi_ray.distributed.policy import Breaker, PoolPolicy, chunk_length


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
    outcomes = [breaker.failed("same", began=event, now=event) for event in range(5)]
    assert outcomes == [False] * 4 + [True]


def test_breaker_wants_different_samples_once_something_worked() -> None:
    breaker = Breaker(5)
    breaker.start()
    breaker.succeeded()
    assert not any(breaker.failed("same", began=event, now=event) for event in range(50))
    outcomes = [breaker.failed(event, began=event, now=event) for event in range(50, 54)]
    assert outcomes == [False] * 3 + [True]


def test_breaker_counts_failures_of_one_round_once() -> None:
    breaker = Breaker(5)
    breaker.start()
    assert not any(breaker.failed(event, began=0, now=10 + event) for event in range(100))
