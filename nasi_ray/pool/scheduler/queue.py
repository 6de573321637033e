"""The samples left to give out, their order, and how often each has failed."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from nasi_ray.pool.scheduler.policy import PoolPolicy


@dataclass(slots=True)
class _Suspect:
    """A sample whose evaluation failed, or that was running when its worker died."""

    num_attempts: int = 0
    tried_on: set[int] = field(default_factory=set)
    is_certain: bool = False
    """The sample itself has failed, not only a call that had others, too."""
    is_final: bool = False
    """From now on its attempts wait until nothing else is left to give out."""


class SampleQueue:
    """Open samples (neither result nor final failure yet) and the order in which they go out.

    * Suspects go first, unless everything fails, and one a call: this tells a sample that kills
      its worker from those that shared its call.
    * A worker on which a suspect failed gets it again only when it has nothing else to do.
    * A suspect whose worker died waits with its last attempt until nothing else is left. When
      workers die one after the other for another reason, whatever goes first is hit repeatedly
      and must not be taken for the cause.
    * A suspect that has used up its attempts gets final retries, also at the end, each after a
      longer time without deaths (``PoolPolicy.max_final_retries``).
    """

    def __init__(self, policy: PoolPolicy) -> None:
        self._max_attempts = policy.max_attempts
        self._max_total_attempts = policy.max_total_attempts
        self._min_stable_s = policy.min_stable_s
        self._fresh: deque[int] = deque()
        self._retries: deque[int] = deque()
        self._final: deque[int] = deque()
        self._suspects: dict[int, _Suspect] = {}
        self._open: set[int] = set()

    def __len__(self) -> int:
        """Samples to give out; an upper bound, as a late result may have closed one."""
        return len(self._fresh) + len(self._retries) + len(self._final)

    @property
    def has_only_final(self) -> bool:
        """Whether only attempts that waited for the end are left to give out, or none."""
        return not self._fresh and not self._retries

    @property
    def num_open(self) -> int:
        """Open samples, in flight or not."""
        return len(self._open)

    def is_open(self, index: int) -> bool:
        """Whether the sample still needs a result."""
        return index in self._open

    def add(self, indices: Iterable[int]) -> None:
        """Append new samples; those already open are not added again."""
        for index in indices:
            if index not in self._open:
                self._open.add(index)
                self._fresh.append(index)

    def clear(self) -> None:
        """Forget everything."""
        self._fresh.clear()
        self._retries.clear()
        self._final.clear()
        self._suspects.clear()
        self._open.clear()

    def take(
        self,
        length: int,
        worker: int,
        *,
        is_idle: bool,
        held: Container[int] = (),
        fresh_first: bool = False,
        stable_s: float = 0.0,
    ) -> tuple[int, ...]:
        """Give out samples; empty if there are none for this worker.

        Args:
            length: Most fresh samples; a suspect goes alone.
            worker: The worker that gets them.
            is_idle: The worker has no call, so it may retry samples that failed on it.
            held: Samples that the worker has already; it does not get these suspects again.
            fresh_first: Prefer samples never tried to suspects.
            stable_s: For how long workers have been ready and none has died, in seconds.
        """
        first, second = self._take_fresh, self._take_suspect
        if not fresh_first:
            first, second = second, first
        taken = first(length, worker, held) or second(length, worker, held)
        if taken or not is_idle:
            return taken
        return self._take_suspect(length, None, held) or self._take_final(stable_s)

    def _take_fresh(self, length: int, worker: int | None, held: Container[int]) -> tuple[int, ...]:
        taken: list[int] = []
        while self._fresh and len(taken) < length:
            index = self._fresh.popleft()
            if index in self._open:
                taken.append(index)
        return tuple(taken)

    def _take_suspect(
        self, length: int, worker: int | None, held: Container[int]
    ) -> tuple[int, ...]:
        """Take a suspect that the worker has not tried; None: any suspect."""
        for index in self._retries:
            if worker not in self._suspects[index].tried_on and index not in held:
                self._retries.remove(index)
                return (index,)
        return ()

    def _take_final(self, stable_s: float) -> tuple[int, ...]:
        for index in self._final:
            num_retries = self._suspects[index].num_attempts - self._max_attempts
            if num_retries < 0 or stable_s >= self._min_stable_s * 2.0**num_retries:
                self._final.remove(index)
                return (index,)
        return ()

    def is_final_attempt(self, indices: tuple[int, ...]) -> bool:
        """Whether a call is one suspect that waited until nothing else was left."""
        suspect = self._suspects.get(indices[0])
        return len(indices) == 1 and suspect is not None and suspect.is_final

    def has_failed_before(self, indices: tuple[int, ...]) -> bool:
        """Whether a call is one sample that itself has failed before."""
        suspect = self._suspects.get(indices[0])
        return len(indices) == 1 and suspect is not None and suspect.is_certain

    def needs_return(self, index: int, *, is_in_flight: bool) -> bool:
        """Whether to put back a sample whose call was dropped.

        A suspect is put back even if another worker has it (``is_in_flight``): that may be in a
        longer call, which never gets a backup.
        """
        if index in self._suspects:
            return not self._is_queued(index)
        return index in self._open and not is_in_flight

    def put_back(self, indices: Iterable[int]) -> None:
        """Return samples without counting an attempt, to the front and in their order."""
        fresh: list[int] = []
        for index in indices:
            if index in self._suspects:
                self._queue_of(index).appendleft(index)
            else:
                fresh.append(index)
        self._fresh.extendleft(reversed(fresh))

    def charge(self, index: int, worker: int, *, is_certain: bool, is_death: bool = False) -> bool:
        """Count a failed attempt at an open sample and queue it again.

        Args:
            index: The sample.
            worker: The worker that tried.
            is_certain: This sample failed, not another one of its call. Only such a failure can
                use up a sample's last attempt.
            is_death: The worker died, possibly for another reason.

        Returns:
            True if that was the last attempt; the sample is then closed.
        """
        suspect = self._suspects.setdefault(index, _Suspect())
        suspect.tried_on.add(worker)
        suspect.is_certain |= is_certain
        if index in self._final:
            return False
        if is_certain or suspect.num_attempts < self._max_attempts - 1:
            suspect.num_attempts += 1
        if suspect.num_attempts >= self._max_total_attempts:
            self.close(index)
            return True
        self._unqueue(index)
        num_left = self._max_attempts - suspect.num_attempts
        suspect.is_final |= num_left <= (1 if is_death else 0)
        self._queue_of(index).append(index)
        return False

    def may_have_backup(self, indices: tuple[int, ...]) -> bool:
        """Whether a call may go to a second worker: it has open samples and no queued suspects.

        Suspects of a longer call are queued on their own already; one alone may be.
        """
        if len(indices) == 1:
            (index,) = indices
            return index in self._open and not (index in self._suspects and self._is_queued(index))
        is_open = False
        for index in indices:
            if index in self._suspects:
                return False
            is_open = is_open or index in self._open
        return is_open

    def close(self, index: int) -> None:
        """The sample has a result or has failed for good."""
        self._open.discard(index)
        if index in self._suspects:
            self._unqueue(index)
            del self._suspects[index]

    def _queue_of(self, index: int) -> deque[int]:
        return self._final if self._suspects[index].is_final else self._retries

    def _is_queued(self, index: int) -> bool:
        return index in self._queue_of(index)

    def _unqueue(self, index: int) -> None:
        if self._is_queued(index):
            self._queue_of(index).remove(index)
