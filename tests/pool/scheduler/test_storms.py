"""A search on simulated workers that die: its result, and what it reports."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from nasi_ray.config import EstimateConfig
from nasi_ray.errors import WorkerError
from nasi_ray.nasi.estimator import estimate
from nasi_ray.nasi.evaluator import lost_sample
from nasi_ray.pool.scheduler.decisions import GiveUp
from nasi_ray.pool.scheduler.policy import PoolPolicy
from nasi_ray.pool.scheduler.scheduler import Scheduler
from nasi_ray.records import RecordStore, SampleRows
from nasi_ray.records.rows import Sample, SampleTable
from nasi_ray.runner import InProcessRunner, Runner, RunnerStatus
from nasi_ray.search.collect import collect
from nasi_ray.search.result import describe_alpha
from nasi_ray.storage import LocalStorage
from tests.pool.scheduler.simulation import FakeCluster
from tests.toy import SPACE, Quiet, toy_sample

NUM_SAMPLES = 40
CONFIG = EstimateConfig(num_samples=NUM_SAMPLES)
Store = RecordStore[Sample, SampleTable]


class StormyRunner:
    """A runner on simulated workers; until ``until`` the worker with sample ``hit`` dies."""

    def __init__(self, *, hit: int = -1, until: float = 0.0, poison: Sequence[int] = ()) -> None:
        self._hit, self._until = hit, until
        scheduler: Scheduler[int] = Scheduler(PoolPolicy())
        self.cluster = FakeCluster(scheduler, random.Random(0), deadly=frozenset(poison))

    def run(self, indices: Sequence[int]) -> Iterator[Sequence[Sample]]:
        cluster, sent = self.cluster, set[int]()
        cluster.scheduler.add(indices)
        cluster.scheduler.tick(cluster.target)
        cluster.decide()
        while cluster.ended is None:
            for worker in list(cluster.workers):
                calls = cluster.workers[worker].calls
                if calls and self._hit in calls[0].indices and cluster.now < self._until:
                    cluster.kill(worker)
            cluster.step()
            new = [i for i in (*cluster.results, *cluster.failed) if i not in sent]
            sent.update(new)
            yield [self._sample(index) for index in new]
        if isinstance(cluster.ended, GiveUp):
            raise WorkerError(cluster.ended.reason)

    def _sample(self, index: int) -> Sample:
        reason = self.cluster.failed.get(index)
        return toy_sample(index) if reason is None else lost_sample("darts", index, reason)

    def status(self) -> RunnerStatus:
        return RunnerStatus(num_alive=self.cluster.scheduler.num_ready)

    def close(self) -> None:
        """Nothing to do."""


def open_store(path: Path) -> Store:
    return RecordStore.open(LocalStorage(str(path)), identity={"toy": 1}, rows=SampleRows(84))


def search(store: Store, runner: Runner[Sample]) -> Quiet:
    progress = Quiet()
    missing = store.missing(range(NUM_SAMPLES))
    collect(missing, runner=runner, store=store, progress=progress, space=SPACE, config=CONFIG)
    return progress


def answer(store: Store) -> dict[str, Any]:
    return describe_alpha(estimate(store.read(), CONFIG), SPACE)


@pytest.fixture
def undisturbed(tmp_path: Path) -> dict[str, Any]:
    store = open_store(tmp_path / "undisturbed")
    search(store, InProcessRunner(toy_sample))
    return answer(store)


@pytest.mark.parametrize(("until", "num_attempts"), [(3.0, 2), (12.0, 4), (20.0, 6)])
def test_after_a_storm_over_the_last_attempt_the_answer_is_the_same(
    tmp_path: Path, undisturbed: dict[str, Any], until: float, num_attempts: int
) -> None:
    store, runner = open_store(tmp_path / "stormy"), StormyRunner(hit=7, until=until)
    progress = search(store, runner)
    assert runner.cluster.submitted[7] == num_attempts  # at most three without final retries
    assert store.missing(range(NUM_SAMPLES)) == []
    assert answer(store) == undisturbed
    assert progress.messages == []


def test_poison_samples_stop_nothing_and_are_named_and_tried_again(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    store, poison = open_store(tmp_path / "poisoned"), [3, 4, 5, 11, 25, 39]
    progress = search(store, StormyRunner(poison=poison))
    assert store.missing(range(NUM_SAMPLES)) == poison
    found = answer(store)
    assert int((~store.read().ok).sum()) == len(poison)
    assert found["alpha"] != undisturbed["alpha"]
    assert sum(" lost: 6 attempts failed; worker " in text for text in progress.messages) == 5
    search(store, StormyRunner())
    assert answer(store) == undisturbed
