from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasi_ray.pool.scheduler.decisions import Finished, GiveUp, OutOfCapacity, SubmitCall
from nasi_ray.pool.scheduler.policy import PoolPolicy
from nasi_ray.pool.scheduler.scheduler import Scheduler
from tests.pool.scheduler.simulation import FakeCluster

PATIENT = PoolPolicy(max_failures_in_row=10**6, capacity_timeout_s=float("inf"))


def make_cluster(
    num_samples: int,
    *,
    policy: PoolPolicy = PATIENT,
    target: int = 3,
    seed: int = 0,
    deadly: frozenset[int] = frozenset(),
    raising: frozenset[int] = frozenset(),
) -> FakeCluster:
    scheduler: Scheduler[int] = Scheduler(policy, lambda a, b: a == b)
    scheduler.add(range(num_samples))
    return FakeCluster(
        scheduler, random.Random(seed), deadly=deadly, raising=raising, target=target
    )


def bring_up(cluster: FakeCluster) -> None:
    """All workers ready, with their first calls."""
    cluster.scheduler.tick(cluster.target)
    cluster.decide()
    for worker in list(cluster.workers):
        cluster.advance(worker)
        cluster.advance(worker)
    cluster.decide()


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    num_samples=st.integers(0, 120),
    events=st.lists(
        st.sampled_from(["step"] * 12 + ["kill", "preempt", "drain", "hang", "grow", "shrink"]),
        max_size=200,
    ),
    deadly=st.frozensets(st.integers(0, 119), max_size=3),
    raising=st.frozensets(st.integers(0, 119), max_size=3),
)
def test_every_sample_ends_exactly_once_whatever_happens_to_the_workers(
    seed: int,
    num_samples: int,
    events: list[str],
    deadly: frozenset[int],
    raising: frozenset[int],
) -> None:
    cluster = make_cluster(num_samples, seed=seed, deadly=deadly, raising=raising)
    cluster.scheduler.tick(cluster.target)
    cluster.decide()
    for event in events:
        if cluster.ended is not None:
            break
        apply_event(cluster, event)
    # One may hang for ever, once it is known how long a sample takes.
    num_spared = 1 if cluster.results else 0
    for worker in [w for w, state in cluster.workers.items() if state.is_hung][num_spared:]:
        cluster.kill(worker)
    cluster.target = 3
    cluster.run()

    assert cluster.ended == Finished()
    assert sorted(cluster.results + list(cluster.failed)) == list(range(num_samples))
    never = (deadly | raising) & set(range(num_samples))
    assert never <= set(cluster.failed)


def apply_event(cluster: FakeCluster, event: str) -> None:
    workers = list(cluster.workers)
    chosen = cluster.rng.choice(workers) if workers else None
    match event:
        case "kill" | "preempt" if chosen is not None:
            cluster.kill(chosen, preempted=event == "preempt")
        case "drain" if chosen is not None:
            cluster.scheduler.tick(cluster.target, {chosen})
        case "hang" if chosen in cluster.ready_workers():
            cluster.workers[chosen].is_hung = True
        case "grow" | "shrink":
            cluster.target = max(1, cluster.target + (1 if event == "grow" else -1))
            cluster.scheduler.tick(cluster.target)
        case _:
            pass
    cluster.step()


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    target=st.integers(1, 5),
    deadly=st.frozensets(st.integers(0, 59), max_size=4),
    raising=st.frozensets(st.integers(0, 59), max_size=4),
)
def test_only_poison_samples_fail_and_the_rest_completes(
    seed: int, target: int, deadly: frozenset[int], raising: frozenset[int]
) -> None:
    cluster = make_cluster(60, seed=seed, target=target, deadly=deadly, raising=raising)
    cluster.run()
    assert set(cluster.failed) == deadly | raising
    assert sorted(cluster.results) == sorted(set(range(60)) - deadly - raising)
    assert all(cluster.submitted[index] >= 6 for index in deadly | raising)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), target=st.integers(1, 6), poison=st.integers(0, 59))
def test_one_poison_sample_does_not_trip_the_circuit_breaker(
    seed: int, target: int, poison: int
) -> None:
    cluster = make_cluster(
        60, policy=PoolPolicy(), seed=seed, target=target, deadly=frozenset({poison})
    )
    cluster.run()
    assert cluster.ended == Finished()
    assert set(cluster.failed) == {poison}
    assert sorted(cluster.results) == sorted(set(range(60)) - {poison})
    assert "6 attempts failed" in cluster.failed[poison]


def test_two_poison_samples_in_front_do_not_stop_the_others() -> None:
    cluster = make_cluster(30, policy=PoolPolicy(), target=1, deadly=frozenset({0, 1}))
    cluster.run()
    assert cluster.ended == Finished()
    assert set(cluster.failed) == {0, 1}


def test_gives_up_with_the_last_reason_when_every_worker_dies() -> None:
    cluster = make_cluster(50, policy=PoolPolicy(), deadly=frozenset(range(50)))
    cluster.run()
    assert isinstance(cluster.ended, GiveUp)
    assert "5 attempts failed in a row" in cluster.ended.reason
    assert "died" in cluster.ended.reason
    assert cluster.failed == {}  # nothing is blamed on the samples
    assert "\n" not in cluster.ended.reason


def test_gives_up_when_everything_breaks_in_the_middle() -> None:
    cluster = make_cluster(200, policy=PoolPolicy(max_chunk=1), raising=frozenset(range(100, 200)))
    cluster.run()
    assert isinstance(cluster.ended, GiveUp)
    assert len(cluster.results) == 100
    assert cluster.failed == {}


def test_gives_up_when_no_worker_can_prepare() -> None:
    cluster = make_cluster(50, policy=PoolPolicy())
    cluster.scheduler.tick(2)
    cluster.decide()
    rounds = 0
    while cluster.ended is None:
        for worker in list(cluster.workers):
            cluster.kill(worker)
        rounds += 1
        cluster.decide()
    assert isinstance(cluster.ended, GiveUp)
    assert rounds == 5


def test_workers_that_fall_together_count_as_one_failure() -> None:
    cluster = make_cluster(500, policy=PoolPolicy(), target=20)
    bring_up(cluster)
    for worker in list(cluster.workers):
        cluster.kill(worker)
    cluster.run()
    assert cluster.ended == Finished()
    assert sorted(cluster.results) == list(range(500))


def test_a_call_that_only_waited_is_not_blamed_for_a_death() -> None:
    cluster = make_cluster(2, target=1)
    for _ in range(2):  # the first call dies with its worker twice; the second waits behind it
        bring_up(cluster)
        (worker,) = cluster.ready_workers()
        calls = list(cluster.workers[worker].calls)
        assert [call.indices for call in calls] == [(0,), (1,)]
        cluster.kill(worker)
    cluster.deadly = frozenset({1})
    cluster.run()
    # Sample 1 still had all its three attempts, and then its three final retries.
    assert cluster.submitted[1] == 2 + 3 + 3
    assert cluster.results == [0]


def test_suspects_of_a_longer_call_are_given_out_alone() -> None:
    cluster = make_cluster(400, target=1)
    bring_up(cluster)
    (worker,) = cluster.ready_workers()
    while len(cluster.workers[worker].calls[0].indices) == 1:
        cluster.advance(worker)
        cluster.decide()
    suspects = cluster.workers[worker].calls[0].indices
    assert len(suspects) > 1
    cluster.kill(worker)
    before = len(cluster.call_lengths)
    cluster.run()
    assert cluster.call_lengths[before : before + len(suspects)] == [1] * len(suspects)
    assert sorted(cluster.results) == list(range(400))


def test_preempted_workers_cost_no_attempt() -> None:
    cluster = make_cluster(4, target=1)
    for _ in range(10):
        bring_up(cluster)
        (worker,) = cluster.ready_workers()
        cluster.kill(worker, preempted=True)
    cluster.run()
    assert cluster.failed == {}
    assert sorted(cluster.results) == [0, 1, 2, 3]


def test_a_worker_on_which_everything_raises_is_replaced_and_blames_no_sample() -> None:
    cluster = make_cluster(100, target=3)
    bring_up(cluster)
    broken = min(cluster.workers)
    while broken in cluster.workers:
        call = cluster.workers[broken].calls.popleft()
        errors = [(index, "RuntimeError: CUDA error") for index in call.indices]
        cluster.scheduler.call_done(call.call, [], errors, 0.0, cluster.now)
        cluster.decide()
    cluster.run()
    assert cluster.failed == {}
    assert sorted(cluster.results) == list(range(100))


def test_a_hung_worker_is_overtaken_by_an_idle_one() -> None:
    cluster = make_cluster(20, target=2)
    bring_up(cluster)
    hung = min(cluster.workers)
    cluster.workers[hung].is_hung = True
    cluster.run()
    assert cluster.ended == Finished()
    assert sorted(cluster.results) == list(range(20))


def test_a_worker_that_hangs_on_the_last_sample_is_overtaken_by_a_new_one() -> None:
    cluster = make_cluster(3, target=2)
    bring_up(cluster)
    hung, other = sorted(cluster.workers)
    cluster.workers[hung].is_hung = True
    while cluster.workers[other].calls:
        cluster.advance(other)
        cluster.decide()
    cluster.kill(other)
    cluster.run()
    assert cluster.ended == Finished()
    assert sorted(cluster.results) == [0, 1, 2]


def test_a_straggling_call_gets_one_backup_and_its_late_result_is_dropped() -> None:
    cluster = make_cluster(3, target=3)
    bring_up(cluster)
    slow, *others = sorted(cluster.workers)
    for worker in others:
        while cluster.workers[worker].calls:
            cluster.advance(worker)
    cluster.now += 100.0
    cluster.decide()
    backups = [w for w in others if cluster.workers[w].calls]
    assert len(backups) == 1
    late = cluster.workers[slow].calls[0]
    cluster.advance(backups[0])
    assert sorted(cluster.results) == [0, 1, 2]
    assert cluster.scheduler.call_done(late.call, [(late.indices[0], 0)], [], 1.0, 101.0) == []
    cluster.decide()
    assert cluster.ended == Finished()


def test_two_results_that_differ_end_the_run_and_name_the_sample() -> None:
    cluster = make_cluster(3, target=3)
    bring_up(cluster)
    slow, *others = sorted(cluster.workers)
    for worker in others[:1]:
        cluster.advance(worker)
    cluster.now += 100.0
    cluster.decide()
    late = cluster.workers[slow].calls[0]
    (index,) = late.indices
    (backup,) = [w for w in others if any(c.indices == (index,) for c in cluster.workers[w].calls)]
    cluster.advance(backup)
    cluster.scheduler.call_done(late.call, [(index, -1)], [], 1.0, 101.0)
    cluster.decide()
    assert isinstance(cluster.ended, GiveUp)
    assert f"sample {index} gave two different results" in cluster.ended.reason


def test_draining_workers_finish_what_they_have_and_go() -> None:
    cluster = make_cluster(50, target=2)
    bring_up(cluster)
    draining = min(cluster.workers)
    cluster.scheduler.tick(2, {draining})
    held = [index for call in cluster.workers[draining].calls for index in call.indices]
    num_submitted = sum(cluster.submitted.values())
    while draining in cluster.workers:
        cluster.advance(draining)
        cluster.decide()
    assert set(held) <= set(cluster.results)
    assert sum(cluster.submitted.values()) == num_submitted  # it got nothing new
    assert len(cluster.workers) == 2  # another was asked for
    cluster.run()
    assert cluster.submitted.total() == 50


def test_a_smaller_target_ends_workers_that_are_not_up_first() -> None:
    cluster = make_cluster(50, target=4)
    cluster.scheduler.tick(4)
    cluster.decide()
    first, second, *pending = sorted(cluster.workers)
    for worker in (first, second):
        cluster.advance(worker)
        cluster.advance(worker)
    cluster.scheduler.tick(2)
    cluster.decide()
    assert sorted(cluster.workers) == [first, second]
    assert pending


def test_no_more_workers_are_started_than_there_are_samples() -> None:
    cluster = make_cluster(2, target=50)
    cluster.scheduler.tick(50)
    cluster.decide()
    assert len(cluster.workers) == 2


def test_no_worker_for_too_long_ends_the_run() -> None:
    cluster = make_cluster(5, policy=PoolPolicy(capacity_timeout_s=10.0))
    cluster.scheduler.tick(2)
    cluster.decide()
    cluster.now = 9.0
    cluster.decide()
    assert cluster.ended is None
    cluster.now = 11.0
    cluster.decide()
    assert cluster.ended == OutOfCapacity(11.0)


def test_a_worker_that_prepares_for_long_is_capacity() -> None:
    cluster = make_cluster(5, policy=PoolPolicy(capacity_timeout_s=10.0), target=1)
    cluster.scheduler.tick(1)
    cluster.decide()
    cluster.advance(0)
    cluster.now = 1000.0
    cluster.decide()
    assert cluster.ended is None


def test_calls_grow_with_the_pace_and_shrink_at_the_tail() -> None:
    cluster = make_cluster(1000, target=2)  # 0.1 s a sample, 0.75 s a call
    cluster.run()
    assert cluster.call_lengths[:2] == [1, 1]
    assert max(cluster.call_lengths) == 7
    assert cluster.call_lengths[-1] == 1


def test_a_second_run_uses_the_same_workers() -> None:
    cluster = make_cluster(10)
    cluster.run()
    workers = set(cluster.workers)
    cluster.scheduler.abandon()
    cluster.scheduler.add(range(10, 30))
    cluster.ended = None
    cluster.run()
    assert sorted(cluster.results) == list(range(30))
    assert set(cluster.workers) == workers


def test_a_late_result_of_an_abandoned_run_counts_if_its_sample_is_asked_for_again() -> None:
    cluster = make_cluster(1, target=1)
    cluster.may_repeat = True
    bring_up(cluster)
    (call,) = cluster.workers[0].calls
    assert isinstance(call, SubmitCall)
    cluster.scheduler.abandon()
    cluster.scheduler.add([0])
    cluster.run()
    assert cluster.results == [0]


def test_a_sample_hit_by_a_storm_has_its_last_attempt_after_the_storm() -> None:
    cluster = make_cluster(40, policy=PoolPolicy(), target=2)
    cluster.scheduler.tick(2)
    cluster.decide()
    while cluster.submitted[0] < 3 and len(cluster.results) < 39:
        for worker in list(cluster.workers):
            calls = cluster.workers[worker].calls
            if calls and calls[0].indices == (0,) and cluster.submitted[0] < 3:
                cluster.kill(worker)
            else:
                cluster.advance(worker)
            cluster.now += 0.1
            cluster.decide()
    assert cluster.submitted[0] == 3
    # All the others have been given out before.
    assert all(cluster.submitted[index] for index in range(40))
    cluster.run()
    assert cluster.failed == {}
    assert sorted(cluster.results) == list(range(40))


@pytest.mark.parametrize("seed", range(5))
def test_many_poison_samples_do_not_stop_the_others(seed: int) -> None:
    deadly = frozenset(range(0, 60, 6))
    cluster = make_cluster(60, policy=PoolPolicy(), seed=seed, deadly=deadly)
    cluster.run()
    assert cluster.ended == Finished()
    assert set(cluster.failed) == deadly
    assert sorted(cluster.results) == sorted(set(range(60)) - deadly)


def storm(cluster: FakeCluster, index: int, *, until: float, kills_all: bool = False) -> None:
    """Kill the worker of a sample (or every one) whenever it is at work, for so long."""
    while cluster.now < until and cluster.ended is None:
        cluster.now += 0.1
        for worker in list(cluster.workers):
            calls = cluster.workers[worker].calls
            is_hit = bool(calls) and index in calls[0].indices
            if is_hit or (kills_all and cluster.workers[worker].phase == "ready"):
                cluster.kill(worker)
            else:
                cluster.advance(worker)
        cluster.decide()


def test_a_storm_over_a_samples_last_attempt_costs_no_result() -> None:
    cluster = make_cluster(40, policy=PoolPolicy(), target=2)
    cluster.scheduler.tick(2)
    cluster.decide()
    storm(cluster, 0, until=6.0)
    assert cluster.submitted[0] >= 4  # its three attempts, and more
    assert sorted(cluster.results) == list(range(1, 40))
    assert cluster.failed == {}
    cluster.run()
    assert cluster.ended == Finished()
    assert cluster.failed == {}
    assert sorted(cluster.results) == list(range(40))


def test_in_a_storm_without_end_no_sample_is_blamed() -> None:
    cluster = make_cluster(8, policy=PoolPolicy(), target=2)
    cluster.scheduler.tick(2)
    cluster.decide()
    while len(cluster.results) < 7:
        storm(cluster, 0, until=cluster.now + 0.1)
    storm(cluster, 0, until=1e6, kills_all=True)
    assert isinstance(cluster.ended, GiveUp)
    assert not cluster.ended.is_contradiction
    assert cluster.failed == {}


def test_a_call_that_hangs_gets_a_backup_while_a_sample_waits_for_its_final_retry() -> None:
    cluster = make_cluster(3, policy=PoolPolicy(min_stable_s=1e6), target=3, raising=frozenset({0}))
    bring_up(cluster)
    hung = next(w for w, state in cluster.workers.items() if state.calls[0].indices == (1,))
    cluster.workers[hung].is_hung = True
    for _ in range(300):
        cluster.step()
    assert cluster.submitted[0] in (3, 4)  # one may wait behind the call that hangs
    assert sorted(cluster.results) == [1, 2]
    assert cluster.ended is None


def test_samples_that_raise_are_tried_again_at_the_end_and_stop_nothing() -> None:
    raising = frozenset(range(0, 60, 6))
    cluster = make_cluster(60, policy=PoolPolicy(), raising=raising)
    while len(cluster.results) < 50:
        cluster.scheduler.tick(cluster.target)
        cluster.decide()
        cluster.step()
    assert cluster.failed == {}
    cluster.raising = frozenset({6})  # what made the others raise is over
    cluster.run()
    assert cluster.ended == Finished()
    assert set(cluster.failed) == {6}
    assert sorted(cluster.results) == sorted(set(range(60)) - {6})
