from __future__ import annotations

from nasi_ray.pool.scheduler.failures import CircuitBreaker, Failure


def test_breaker_gives_up_after_five_rounds_if_nothing_ever_worked() -> None:
    breaker = CircuitBreaker(5)
    breaker.reset()
    outcomes = [breaker.failed(Failure("same", event, event)) for event in range(5)]
    assert outcomes == [False] * 4 + [True]


def test_breaker_needs_different_samples_once_something_worked() -> None:
    breaker = CircuitBreaker(5)
    breaker.reset()
    breaker.succeeded()
    assert not any(breaker.failed(Failure("same", event, event)) for event in range(50))
    outcomes = [breaker.failed(Failure(event, event, event)) for event in range(50, 54)]
    assert outcomes == [False] * 3 + [True]


def test_breaker_counts_failures_of_one_round_once() -> None:
    breaker = CircuitBreaker(5)
    breaker.reset()
    assert not any(breaker.failed(Failure(event, 0, 10 + event)) for event in range(100))


def test_once_something_worked_only_what_had_not_failed_before_counts() -> None:
    breaker = CircuitBreaker(2)
    breaker.reset()
    assert not breaker.failed(Failure("a", 0, 0), is_repeat=True)
    assert breaker.failed(Failure("a", 1, 1), is_repeat=True)
    breaker.succeeded()
    assert not any(breaker.failed(Failure(e, e, e), is_repeat=True) for e in range(2, 50))
    assert not breaker.failed(Failure("a", 50, 50))
    assert breaker.failed(Failure("b", 51, 51))
