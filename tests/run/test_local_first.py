"""Samples are evaluated here at once, and Ray is started only where that ends the run earlier."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from nasi_ray.errors import ClusterError
from nasi_ray.run.local_first import LocalFirstRunner, pays
from nasi_ray.runner import RunnerStatus


class FakeRay:
    """Workers that evaluate at once; counts what happens to it."""

    def __init__(self) -> None:
        self.given: list[int] = []
        self.closed = 0

    def run(self, indices: Sequence[int]) -> Iterator[Sequence[int]]:
        self.given += indices
        yield list(indices)

    def status(self) -> RunnerStatus:
        return RunnerStatus(num_alive=2)

    def close(self) -> None:
        self.closed += 1


class Clock:
    """Every evaluation takes ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self.now, self.seconds = 0.0, seconds
        self.here: list[int] = []

    def evaluate(self, index: int) -> int:
        if threading.current_thread().name == "evaluation":
            time.sleep(0.01)  # else the thread would be done before Ray has started
        self.now += self.seconds
        self.here.append(index)
        return index


def runner(clock: Clock, ray: FakeRay, *, num_workers: int = 2) -> LocalFirstRunner[int]:
    return LocalFirstRunner(
        clock.evaluate,
        lambda: contextlib.closing(ray),
        num_workers=num_workers,
        message=lambda text: None,
        clock=lambda: clock.now,
    )


def flat(batches: Iterator[Sequence[int]]) -> list[int]:
    return [index for batch in batches for index in batch]


@pytest.mark.parametrize(
    ("seconds", "workers", "expected"),
    [(10.0, 2, False), (39.0, 2, False), (41.0, 2, True), (1e6, 1, False), (25.0, 16, True)],
)
def test_ray_pays_if_it_ends_earlier(seconds: float, workers: int, expected: bool) -> None:
    assert pays(seconds, workers, start_s=20.0) is expected


@pytest.mark.parametrize(("seconds", "workers"), [(0.01, 2), (1.0, 1)])
def test_a_short_run_or_a_single_worker_stays_here(seconds: float, workers: int) -> None:
    clock, ray = Clock(seconds), FakeRay()
    made = runner(clock, ray, num_workers=workers)
    assert flat(made.run(range(500))) == list(range(500))
    assert (ray.given, ray.closed) == ([], 0)
    made.close()
    assert ray.closed == 0


def test_a_long_run_goes_to_the_workers_and_each_sample_is_made_once() -> None:
    clock, ray = Clock(1.0), FakeRay()
    made = runner(clock, ray)
    assert made.status().num_alive == 1
    assert sorted(flat(made.run(range(500)))) == list(range(500))
    assert ray.given
    assert sorted([*clock.here, *ray.given]) == list(range(500))
    assert made.status().num_alive == 2
    assert flat(made.run(range(500, 503))) == [500, 501, 502]
    made.close()
    assert ray.closed == 1


def test_every_series_is_decided_anew() -> None:
    clock, ray = Clock(1.0), FakeRay()
    made = runner(clock, ray)
    assert flat(made.run(range(5))) == list(range(5))
    assert ray.given == []
    assert sorted(flat(made.run(range(500)))) == list(range(500))
    assert ray.given
    made.close()


@pytest.mark.parametrize("error", [ClusterError("no Ray"), KeyboardInterrupt()])
def test_what_was_made_while_ray_did_not_start_is_kept(error: BaseException) -> None:
    clock = Clock(1.0)
    begun = threading.Event()
    evaluate = clock.evaluate

    def noted(index: int) -> int:
        if threading.current_thread().name == "evaluation":
            begun.set()
        return evaluate(index)

    def broken() -> contextlib.closing[FakeRay]:
        assert begun.wait(60)
        raise error

    made = LocalFirstRunner(
        noted, broken, num_workers=2, message=lambda text: None, clock=lambda: clock.now
    )
    found: list[int] = []

    def take_all() -> None:
        for batch in made.run(range(500)):
            found.extend(batch)

    with pytest.raises(type(error)):
        take_all()
    assert found == clock.here
    made.close()


def test_ctrl_c_while_the_last_sample_here_ends_loses_nothing() -> None:
    clock, ray = Clock(1.0), FakeRay()
    evaluate = clock.evaluate
    begun, may_end = threading.Event(), threading.Event()

    def slow(index: int) -> int:
        if threading.current_thread().name == "evaluation" and len(clock.here) > 10:
            begun.set()
            assert may_end.wait(60)
        return evaluate(index)

    def start() -> contextlib.closing[FakeRay]:
        assert begun.wait(60)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGALRM)).start()
        threading.Timer(0.6, may_end.set).start()
        return contextlib.closing(ray)

    made = LocalFirstRunner(
        slow, start, num_workers=2, message=lambda text: None, clock=lambda: clock.now
    )
    found: list[int] = []

    def take_all() -> None:
        for batch in made.run(range(500)):
            found.extend(batch)

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            take_all()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert may_end.is_set()
    assert found == clock.here
    assert len(found) > 11
    made.close()
    assert (ray.given, ray.closed) == ([], 1)


def test_an_error_in_the_thread_ends_the_run_and_what_was_made_is_kept() -> None:
    clock, ray = Clock(1.0), FakeRay()
    evaluate = clock.evaluate
    broken = threading.Event()

    def torn(index: int) -> int:
        if index == 20:
            broken.set()
            raise ValueError("sample 20 is torn")
        return evaluate(index)

    def start() -> contextlib.closing[FakeRay]:
        assert broken.wait(60)
        return contextlib.closing(ray)

    made = LocalFirstRunner(
        torn, start, num_workers=2, message=lambda text: None, clock=lambda: clock.now
    )
    found: list[int] = []

    def take_all() -> None:
        for batch in made.run(range(500)):
            found.extend(batch)

    with pytest.raises(ValueError, match="sample 20 is torn"):
        take_all()
    assert found == clock.here == list(range(20))
    made.close()
    assert (ray.given, ray.closed) == ([], 1)
