"""A runner that evaluates in this process at once, and starts Ray only where that pays."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

import torch

from nasi_ray.runner import Runner, RunnerStatus

R = TypeVar("R")

START_S = 20.0
"""About how long it takes until Ray's workers on this machine have loaded torch and evaluate."""
_PROBE_S = 3.0
"""For so long samples are timed before anything is decided."""


def pays(seconds_left: float, num_workers: int, *, start_s: float = START_S) -> bool:
    """Whether starting Ray ends earlier than going on in one process.

    Args:
        seconds_left: What one process still needs.
        num_workers: Workers that Ray would have.
        start_s: Seconds until they evaluate.
    """
    return num_workers > 1 and seconds_left > start_s + seconds_left / num_workers


class LocalFirstRunner(Generic[R]):
    """Evaluates here; hands the rest to Ray's workers if there is enough of it.

    Args:
        evaluate: Index -> record, in this process.
        start: Starts Ray and its workers; entered at most once.
        num_workers: Workers that Ray would have.
        message: Tells people.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        evaluate: Callable[[int], R],
        start: Callable[[], AbstractContextManager[Runner[R]]],
        *,
        num_workers: int,
        message: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._evaluate, self._start = evaluate, start
        self._num_workers, self._message, self._clock = num_workers, message, clock
        self._context: AbstractContextManager[Runner[R]] | None = None
        self._ray: Runner[R] | None = None

    def run(self, indices: Sequence[int]) -> Iterator[Sequence[R]]:
        """Evaluate every index once, in order as long as that is done here."""
        if self._ray is not None:
            yield from self._ray.run(indices)
            return
        first = self._clock()
        started, timed, has_decided = first, 0, False
        for position, index in enumerate(indices):
            yield [self._evaluate(index)]
            now = self._clock()
            if position == 0:
                started = now  # the first sample is slow: kernels are chosen
                continue
            timed += 1
            if has_decided or now - first < _PROBE_S:
                continue
            has_decided = True
            left = len(indices) - position - 1
            if pays(left * (now - started) / timed, self._num_workers):
                yield from self._go_on_with_ray(indices[position + 1 :])
                return

    def _go_on_with_ray(self, indices: Sequence[int]) -> Iterator[Sequence[R]]:
        """Start Ray while a thread evaluates, then let the workers do what is left."""
        meanwhile = _Meanwhile(self._evaluate, indices)
        try:
            self._message(
                f"{len(indices)} samples are left: starting Ray with {self._num_workers} workers"
            )
            self._context = self._start()
            self._ray = self._context.__enter__()
            meanwhile.end()
        except BaseException:
            meanwhile.end()
            yield meanwhile.made
            raise
        yield meanwhile.made
        if meanwhile.error is not None:
            raise meanwhile.error
        yield from self._ray.run(indices[len(meanwhile.made) :])

    def status(self) -> RunnerStatus:
        """One worker here, or those of Ray."""
        return RunnerStatus(num_alive=1) if self._ray is None else self._ray.status()

    def close(self) -> None:
        """Release Ray's workers, if there are any."""
        if self._context is not None and self._ray is not None:
            self._context.__exit__(None, None, None)
        self._context = self._ray = None


class _Meanwhile(Generic[R]):
    """Evaluates in a thread, in order, from the start."""

    def __init__(self, evaluate: Callable[[int], R], indices: Sequence[int]) -> None:
        self.made: list[R] = []
        self.error: BaseException | None = None
        """Why it ended early."""
        self._evaluate, self._indices = evaluate, indices
        self._num_threads = torch.get_num_threads()  # of this thread; a new one has the default
        self._stop = threading.Event()
        # Not the thread's join: in Python 3.11 and 3.12 one that Ctrl-C interrupts takes the
        # thread for ended ever after.
        self._over = threading.Event()
        threading.Thread(target=self._run, name="evaluation", daemon=True).start()

    def end(self) -> None:
        """Let it end the sample that it is at, and wait for that."""
        self._stop.set()
        self._over.wait()

    def _run(self) -> None:
        try:
            torch.set_num_threads(self._num_threads)
            for index in self._indices:
                if self._stop.is_set():
                    return
                self.made.append(self._evaluate(index))
        except BaseException as error:
            self.error = error
        finally:
            self._over.set()


def num_workers_here(threads_per_worker: int) -> int:
    """Workers that this machine's CPUs allow."""
    return max(1, (os.cpu_count() or 1) // threads_per_worker)
