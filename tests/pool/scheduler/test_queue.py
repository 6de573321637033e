from __future__ import annotations

from nasi_ray.pool.scheduler.policy import PoolPolicy
from nasi_ray.pool.scheduler.queue import SampleQueue

POLICY = PoolPolicy(max_attempts=3, max_final_retries=0)


def test_only_a_certain_failure_uses_up_the_last_attempt() -> None:
    queue = SampleQueue(POLICY)
    queue.add([7])
    assert not any(queue.charge(7, worker, is_certain=False) for worker in range(10))
    assert queue.is_open(7)
    assert queue.charge(7, 10, is_certain=True)
    assert not queue.is_open(7)


def test_a_worker_repeats_what_it_failed_only_when_idle() -> None:
    queue = SampleQueue(POLICY)
    queue.add([0, 1])
    assert queue.take(1, 5, is_idle=True) == (0,)
    queue.charge(0, 5, is_certain=True)
    assert queue.take(4, 5, is_idle=True) == (1,)
    assert queue.take(4, 5, is_idle=False) == ()
    assert queue.take(4, 5, is_idle=True) == (0,)


def test_suspects_go_first_and_alone_unless_fresh_ones_are_preferred() -> None:
    queue = SampleQueue(POLICY)
    queue.add(range(4))
    assert queue.take(2, 5, is_idle=True) == (0, 1)
    for index in (0, 1):
        queue.charge(index, 5, is_certain=False)
    assert queue.take(4, 6, is_idle=True) == (0,)
    assert queue.take(4, 6, is_idle=True, fresh_first=True) == (2, 3)
    assert queue.take(4, 6, is_idle=True) == (1,)


def test_samples_put_back_keep_their_order_in_front() -> None:
    queue = SampleQueue(POLICY)
    queue.add(range(6))
    taken = queue.take(3, 0, is_idle=True)
    queue.put_back(taken)
    assert queue.take(6, 0, is_idle=True) == (0, 1, 2, 3, 4, 5)


def test_an_open_sample_is_not_added_twice() -> None:
    queue = SampleQueue(POLICY)
    queue.add([3, 3])
    queue.add([3])
    assert len(queue) == queue.num_open == 1


def test_the_last_attempt_after_deaths_waits_until_nothing_else_is_left() -> None:
    queue = SampleQueue(POLICY)
    queue.add(range(3))
    for worker in (0, 1):
        assert queue.take(1, worker, is_idle=True) == (0,)
        assert not queue.charge(0, worker, is_certain=True, is_death=True)
    assert queue.take(1, 2, is_idle=True) == (1,)
    assert queue.take(1, 2, is_idle=False) == (2,)
    assert len(queue) == 1
    assert queue.take(1, 2, is_idle=False) == ()
    assert queue.take(1, 2, is_idle=True) == (0,)
    # Put back without a charge it waits again; then it is over.
    queue.put_back([0])
    assert queue.take(1, 3, is_idle=True) == (0,)
    assert queue.is_final_attempt((0,))
    assert queue.charge(0, 3, is_certain=True, is_death=True)
    assert not queue.is_open(0)
    assert len(queue) == 0


def test_a_sample_that_raises_has_its_attempts_at_once() -> None:
    queue = SampleQueue(POLICY)
    queue.add(range(2))
    for worker in range(3):
        assert queue.take(1, worker, is_idle=True) == (0,)
        is_over = queue.charge(0, worker, is_certain=True)
    assert is_over


def test_final_retries_wait_for_ever_longer_times_without_deaths() -> None:
    queue = SampleQueue(PoolPolicy(max_attempts=2, max_final_retries=3, min_stable_s=5.0))
    queue.add(range(2))
    for worker in range(2):
        assert queue.take(1, worker, is_idle=True) == (0,)
        assert not queue.charge(0, worker, is_certain=True)
    assert queue.take(1, 2, is_idle=True, stable_s=1e6) == (1,)
    for stable_s, is_over in ((5.0, False), (10.0, False), (20.0, True)):
        assert queue.has_only_final
        assert queue.take(1, 3, is_idle=True, stable_s=stable_s - 0.1) == ()
        assert queue.take(1, 3, is_idle=False, stable_s=stable_s) == ()
        assert queue.take(1, 3, is_idle=True, stable_s=stable_s) == (0,)
        assert queue.is_final_attempt((0,))
        assert queue.charge(0, 3, is_certain=True) is is_over
    assert not queue.is_open(0)
    assert len(queue) == 0
