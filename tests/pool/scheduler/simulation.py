"""A cluster made of dictionaries: carries a scheduler's decisions out, with faults on demand."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from nasi_ray.pool.scheduler.decisions import (
    FailSample,
    Finished,
    GiveUp,
    OutOfCapacity,
    RetireWorker,
    StartWorker,
    SubmitCall,
)
from nasi_ray.pool.scheduler.scheduler import Scheduler


@dataclass
class FakeWorker:
    phase: str = "requested"
    calls: deque[SubmitCall] = field(default_factory=deque)
    is_hung: bool = False


@dataclass
class FakeCluster:
    """Steps through random events; ``evaluate`` returns a result, raises, or kills the worker."""

    scheduler: Scheduler[int]
    rng: random.Random
    evaluate: Callable[[int], int] = lambda index: index
    deadly: frozenset[int] = frozenset()
    raising: frozenset[int] = frozenset()
    target: int = 3
    now: float = 0.0
    workers: dict[int, FakeWorker] = field(default_factory=dict)
    results: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    submitted: Counter[int] = field(default_factory=Counter)
    call_lengths: list[int] = field(default_factory=list)
    ended: Finished | GiveUp | OutOfCapacity | None = None
    may_repeat: bool = False
    """A worker may get a sample that it has: one of a run that was abandoned."""

    def decide(self) -> None:
        for decision in self.scheduler.decide(self.now):
            match decision:
                case StartWorker(worker):
                    assert worker not in self.workers
                    self.workers[worker] = FakeWorker()
                case RetireWorker(worker):
                    # It may have died at the same moment.
                    self.workers.pop(worker, None)
                case SubmitCall(_, worker, indices):
                    state = self.workers[worker]
                    assert state.phase == "ready"
                    assert indices
                    held = {index for call in state.calls for index in call.indices}
                    assert self.may_repeat or len(held | set(indices)) == len(held) + len(indices)
                    state.calls.append(decision)
                    assert len(state.calls) <= 2
                    self.submitted.update(indices)
                    self.call_lengths.append(len(indices))
                case FailSample(index, reason):
                    assert index not in self.failed
                    assert index not in self.results
                    self.failed[index] = reason
                case GiveUp() | OutOfCapacity() | Finished():
                    self.ended = decision

    def step(self) -> None:
        """One worker, chosen at random, moves on."""
        self.now += self.rng.choice([0.01, 0.1, 1.0])
        movable = [w for w, state in self.workers.items() if not state.is_hung]
        if movable:
            self.advance(self.rng.choice(movable))
        self.decide()

    def advance(self, worker: int) -> None:
        state = self.workers[worker]
        if state.phase == "requested":
            state.phase = "placed"
            self.scheduler.placed(worker, f"node {worker % 3}")
        elif state.phase == "placed":
            state.phase = "ready"
            self.scheduler.ready(worker)
        elif state.calls:
            self.run_call(worker, state.calls[0])

    def run_call(self, worker: int, call: SubmitCall) -> None:
        if self.deadly & set(call.indices):
            self.kill(worker)
            return
        self.workers[worker].calls.popleft()
        good = [(i, self.evaluate(i)) for i in call.indices if i not in self.raising]
        bad = [(i, f"ValueError: {i}") for i in call.indices if i in self.raising]
        seconds = 0.1 * len(call.indices)
        self.results += self.scheduler.call_done(call.call, good, bad, seconds, self.now)

    def kill(self, worker: int, *, preempted: bool = False) -> None:
        del self.workers[worker]
        self.scheduler.lost(worker, f"worker {worker} died", preempted=preempted)

    def run(self, max_steps: int = 4_000) -> None:
        """Step without further faults until the scheduler ends the run."""
        self.scheduler.tick(self.target)
        self.decide()
        for _ in range(max_steps):
            if self.ended is not None:
                return
            self.step()
        raise AssertionError("the scheduler did not end the run")

    def ready_workers(self) -> list[int]:
        return [w for w, state in self.workers.items() if state.phase == "ready"]
