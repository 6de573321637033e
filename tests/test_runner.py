from __future__ import annotations

import pytest

from nasi_ray.runner import InProcessRunner, RunnerStatus


def test_results_come_one_by_one_in_the_order_asked() -> None:
    runner = InProcessRunner(lambda index: index * 10)
    assert list(runner.run([3, 1, 2])) == [[30], [10], [20]]
    assert list(runner.run([])) == []


def test_nothing_is_evaluated_before_it_is_asked_for() -> None:
    evaluated: list[int] = []
    results = InProcessRunner(evaluated.append).run([0, 1, 2])
    assert evaluated == []
    next(results)
    assert evaluated == [0]


def test_errors_of_an_evaluation_reach_the_caller() -> None:
    def evaluate(index: int) -> int:
        return 1 // index

    results = InProcessRunner(evaluate).run([1, 0])
    assert next(results) == [1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_there_is_one_worker() -> None:
    runner = InProcessRunner(abs)
    assert runner.status() == RunnerStatus(
        num_alive=1, num_starting=0, num_deaths=0, num_requeued=0
    )
    runner.close()
    runner.close()
