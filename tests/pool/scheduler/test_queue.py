from __future__ import annotations

from nasi_ray.pool.scheduler.policy import PoolPolicy
from nasi_ray.pool.scheduler.queue import Backlog

POLICY = PoolPolicy(max_attempts=3, max_appeals=0)


def test_the_last_attempt_is_used_up_only_by_a_sure_failure() -> None:
    backlog = Backlog(POLICY)
    backlog.add([7])
    assert not any(backlog.charge(7, worker, is_sure=False) for worker in range(10))
    assert backlog.is_open(7)
    assert backlog.charge(7, 10, is_sure=True)
    assert not backlog.is_open(7)


def test_a_worker_repeats_what_it_failed_only_when_idle() -> None:
    backlog = Backlog(POLICY)
    backlog.add([0, 1])
    assert backlog.take(1, 5, is_idle=True) == (0,)
    backlog.charge(0, 5, is_sure=True)
    assert backlog.take(4, 5, is_idle=True) == (1,)
    assert backlog.take(4, 5, is_idle=False) == ()
    assert backlog.take(4, 5, is_idle=True) == (0,)


def test_suspects_go_first_and_alone_unless_fresh_ones_are_preferred() -> None:
    backlog = Backlog(POLICY)
    backlog.add(range(4))
    assert backlog.take(2, 5, is_idle=True) == (0, 1)
    for index in (0, 1):
        backlog.charge(index, 5, is_sure=False)
    assert backlog.take(4, 6, is_idle=True) == (0,)
    assert backlog.take(4, 6, is_idle=True, fresh_first=True) == (2, 3)
    assert backlog.take(4, 6, is_idle=True) == (1,)


def test_samples_put_back_keep_their_order_in_front() -> None:
    backlog = Backlog(POLICY)
    backlog.add(range(6))
    taken = backlog.take(3, 0, is_idle=True)
    backlog.put_back(taken)
    assert backlog.take(6, 0, is_idle=True) == (0, 1, 2, 3, 4, 5)


def test_an_open_sample_is_not_added_twice() -> None:
    backlog = Backlog(POLICY)
    backlog.add([3, 3])
    backlog.add([3])
    assert len(backlog) == backlog.num_open == 1


def test_the_last_attempt_after_deaths_waits_until_nothing_else_is_to_do() -> None:
    backlog = Backlog(POLICY)
    backlog.add(range(3))
    for worker in (0, 1):
        assert backlog.take(1, worker, is_idle=True) == (0,)
        assert not backlog.charge(0, worker, is_sure=True, is_death=True)
    assert backlog.take(1, 2, is_idle=True) == (1,)
    assert backlog.take(1, 2, is_idle=False) == (2,)
    assert len(backlog) == 1
    assert backlog.take(1, 2, is_idle=False) == ()
    assert backlog.take(1, 2, is_idle=True) == (0,)
    # Taken back without blame it waits again; then it is over.
    backlog.put_back([0])
    assert backlog.take(1, 3, is_idle=True) == (0,)
    assert backlog.is_last_attempt((0,))
    assert backlog.charge(0, 3, is_sure=True, is_death=True)
    assert not backlog.is_open(0)
    assert len(backlog) == 0


def test_a_sample_that_raises_has_its_attempts_at_once() -> None:
    backlog = Backlog(POLICY)
    backlog.add(range(2))
    for worker in range(3):
        assert backlog.take(1, worker, is_idle=True) == (0,)
        is_over = backlog.charge(0, worker, is_sure=True)
    assert is_over


def test_a_sample_that_has_used_its_attempts_up_appeals_in_ever_longer_calms() -> None:
    backlog = Backlog(PoolPolicy(max_attempts=2, max_appeals=3, calm_s=5.0))
    backlog.add(range(2))
    for worker in range(2):
        assert backlog.take(1, worker, is_idle=True) == (0,)
        assert not backlog.charge(0, worker, is_sure=True)
    assert backlog.take(1, 2, is_idle=True, calm_s=1e6) == (1,)
    for calm_s, is_over in ((5.0, False), (10.0, False), (20.0, True)):
        assert backlog.has_only_last
        assert backlog.take(1, 3, is_idle=True, calm_s=calm_s - 0.1) == ()
        assert backlog.take(1, 3, is_idle=False, calm_s=calm_s) == ()
        assert backlog.take(1, 3, is_idle=True, calm_s=calm_s) == (0,)
        assert backlog.is_last_attempt((0,))
        assert backlog.charge(0, 3, is_sure=True) is is_over
    assert not backlog.is_open(0)
    assert len(backlog) == 0
