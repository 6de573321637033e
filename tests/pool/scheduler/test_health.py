"""A node or GPU on which everything fails must neither end a run nor cost good samples."""

from __future__ import annotations

import functools
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from nasi_ray.pool.scheduler.decisions import (
    FailSample,
    Finished,
    GiveUp,
    OutOfCapacity,
    Quarantine,
    RetireWorker,
    StartWorker,
    SubmitCall,
)
from nasi_ray.pool.scheduler.policy import PoolPolicy
from nasi_ray.pool.scheduler.scheduler import Scheduler

START_S, FAIL_S = 4.0, 0.05
Event = Callable[[], None]


@dataclass
class Outcome:
    end: str = ""
    num_results: int = 0
    lost: list[int] = field(default_factory=list)
    failures: int = 0
    seconds: float = 0.0


class FakeDevices:
    """Devices of one worker each, in virtual time; what runs on a broken one fails at once."""

    def __init__(self, num: int, broken: set[int], sample_s: float, *, is_death: bool) -> None:
        self.scheduler: Scheduler[int] = Scheduler(PoolPolicy())
        self.num, self.broken, self.sample_s, self.is_death = num, broken, sample_s, is_death
        self.free = deque(range(num))
        self.waiting: deque[int] = deque()
        self.device_of: dict[int, int] = {}
        self.calls: dict[int, deque[SubmitCall]] = {}
        self.events: list[tuple[float, int, Event]] = []
        self.order = itertools.count()
        self.now = 0.0
        self.out = Outcome()

    def run(self, num_samples: int) -> Outcome:
        self.scheduler.add(range(num_samples))
        while not self.out.end:
            self.scheduler.tick(self.num)
            for decision in self.scheduler.decide(self.now):
                self.carry_out(decision)
            if self.events and self.events[0][0] <= self.now + 0.5:
                self.now, _, event = heapq.heappop(self.events)
                event()
            else:
                self.now += 0.5
            assert self.now < 1e6
        self.out.seconds = self.now
        return self.out

    def carry_out(self, decision: object) -> None:
        match decision:
            case StartWorker(worker):
                self.waiting.append(worker)
                self.place_waiting()
            case SubmitCall(_, worker, _):
                self.calls[worker].append(decision)
                if len(self.calls[worker]) == 1:
                    self.begin(worker)
            case RetireWorker(worker):
                self.leave(worker)
            case FailSample(index, _):
                self.out.lost.append(index)
            case GiveUp(reason) | OutOfCapacity(reason):
                self.out.end = f"gave up: {reason}"
            case Finished():
                self.out.end = "finished"

    def after(self, seconds: float, event: Event) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.order), event))

    def place_waiting(self) -> None:
        while self.waiting and self.free:
            worker = self.waiting.popleft()
            self.device_of[worker] = self.free.popleft()
            self.calls[worker] = deque()
            self.after(START_S, functools.partial(self.up, worker))

    def up(self, worker: int) -> None:
        if worker in self.device_of:
            self.scheduler.placed(worker, f"gpu{self.device_of[worker]}")
            self.scheduler.ready(worker)

    def leave(self, worker: int) -> None:
        if worker in self.device_of:
            self.free.appendleft(self.device_of.pop(worker))
            del self.calls[worker]
        else:
            self.waiting.remove(worker)
        self.place_waiting()

    def begin(self, worker: int) -> None:
        call = self.calls[worker][0]
        each_s = FAIL_S if self.device_of[worker] in self.broken else self.sample_s
        self.after(each_s * len(call.indices), lambda: self.end(worker, call))

    def end(self, worker: int, call: SubmitCall) -> None:
        if (
            worker not in self.device_of
            or not self.calls[worker]
            or self.calls[worker][0] is not call
        ):
            return
        if self.device_of[worker] not in self.broken:
            results = [(index, index) for index in call.indices]
            seconds = self.sample_s * len(results)
            self.calls[worker].popleft()
            firsts = self.scheduler.call_done(call.call, results, [], seconds, self.now)
            self.out.num_results += len(firsts)
        else:
            self.out.failures += 1
            if self.is_death:
                self.leave(worker)
                self.scheduler.lost(worker, "died")
                return
            self.calls[worker].popleft()
            errors = [(index, "no GPU") for index in call.indices]
            self.scheduler.call_done(call.call, [], errors, FAIL_S, self.now)
        if self.calls[worker]:
            self.begin(worker)


@pytest.mark.parametrize("is_death", [False, True])
@pytest.mark.parametrize(
    ("num", "sample_s"),
    [(2, 1), (2, 10), (4, 10), (4, 30), (10, 10), (10, 60), (50, 60), (50, 300)],
)
def test_one_broken_device_neither_ends_a_run_nor_costs_a_sample(
    num: int, sample_s: float, is_death: bool
) -> None:
    out = FakeDevices(num, {0}, sample_s, is_death=is_death).run(40 * num)
    assert out.end == "finished"
    assert out.num_results == 40 * num
    assert out.lost == []
    ideal_s = START_S + 40 * num * sample_s / (num - 1)
    assert out.seconds < 1.3 * ideal_s + 3 * sample_s + 30
    # Quarantines double, so there are few; before the first result there is none.
    assert out.failures < 20 + sample_s


@pytest.mark.parametrize("is_death", [False, True])
def test_a_run_ends_if_every_device_is_broken(is_death: bool) -> None:
    out = FakeDevices(10, set(range(10)), 60, is_death=is_death).run(400)
    assert out.end.startswith("gave up: 5 attempts failed in a row")
    assert out.seconds < 60


@pytest.mark.parametrize("is_death", [False, True])
def test_a_device_that_has_recovered_works_again(is_death: bool) -> None:
    devices = FakeDevices(2, {0}, 1.0, is_death=is_death)
    devices.after(100.0, devices.broken.clear)
    out = devices.run(600)
    assert (out.end, out.num_results) == ("finished", 600)
    # One device alone would need 604 s.
    assert out.seconds < 450


def test_a_quarantined_device_is_used_if_no_other_is_left() -> None:
    devices = FakeDevices(2, {0}, 1.0, is_death=False)

    def swap() -> None:
        devices.broken.clear()
        (healthy,) = [worker for worker, device in devices.device_of.items() if device == 1]
        devices.num = 1
        del devices.device_of[healthy], devices.calls[healthy]
        devices.scheduler.lost(healthy, "its node is gone", preempted=True)

    devices.after(40.0, swap)
    out = devices.run(100)
    assert (out.end, out.num_results) == ("finished", 100)
    assert out.seconds < 115


def test_a_quarantine_interrupts_no_call_and_ends_with_a_result() -> None:
    scheduler: Scheduler[int] = Scheduler(PoolPolicy(max_in_flight=1))
    calls: dict[int, SubmitCall] = {}
    seen: list[object] = []

    def decide(now: float) -> None:
        decided = scheduler.decide(now)
        seen.extend(decided)
        calls.update({d.worker: d for d in decided if isinstance(d, SubmitCall)})

    def come_up(worker: int, device: str) -> None:
        scheduler.placed(worker, device)
        scheduler.ready(worker)

    scheduler.add(range(100))
    scheduler.tick(3)
    decide(0.0)
    for worker, device in enumerate(("here", "here", "there")):
        come_up(worker, device)
    decide(0.0)
    now, bad = 0.0, 0
    while not any(isinstance(d, Quarantine) for d in seen):  # worker 1 has a long sample
        now += 1.0
        assert now < 10.0
        errors = [(index, "bad image") for index in calls[bad].indices]
        scheduler.call_done(calls[bad].call, [], errors, 0.1, now)
        decide(now)
        if RetireWorker(bad) in seen:
            bad = max(d.worker for d in seen if isinstance(d, StartWorker))
            come_up(bad, "here")
            decide(now)
    assert now == 4.0
    assert RetireWorker(1) not in seen
    assert bad not in calls
    (index,) = calls[1].indices
    assert scheduler.call_done(calls[1].call, [(index, 7)], [], 20.0, 21.0) == [7]
    del calls[1]
    decide(21.0)
    assert {1, bad} <= set(calls)
