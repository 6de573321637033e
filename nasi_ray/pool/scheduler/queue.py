"""Which samples are still to be given out, and what each has been through. No Ray, no clock."""

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
    is_sure: bool = False
    """It has failed by itself, not only together with others."""
    is_last: bool = False
    """Its attempts from now on wait until nothing else is to do."""


class Backlog:
    """Open samples (no result yet) and the order in which they are given out.

    Suspects go one at a time, so that a sample that kills its worker is told apart from those
    that shared its call, and first, unless nothing works; a worker that has failed one takes it
    again only when it has nothing else to do. A suspect whose worker died has its last attempt when
    nothing else is to be given out: in a storm that kills worker after worker, what goes first is
    hit again and again, and must not be taken for the cause. A suspect that has used its attempts
    up appeals, at the end too, each time after a longer calm (``PoolPolicy.max_appeals``).
    """

    def __init__(self, policy: PoolPolicy) -> None:
        self._max_attempts = policy.max_attempts
        self._max_in_all = policy.max_in_all
        self._calm_s = policy.calm_s
        self._fresh: deque[int] = deque()
        self._retries: deque[int] = deque()
        self._last: deque[int] = deque()
        self._suspects: dict[int, _Suspect] = {}
        self._open: set[int] = set()

    def __len__(self) -> int:
        """Samples to give out (an upper bound where a late result has settled one)."""
        return len(self._fresh) + len(self._retries) + len(self._last)

    @property
    def has_only_last(self) -> bool:
        """Whether all there is to give out are attempts that wait until nothing else is."""
        return not self._fresh and not self._retries

    @property
    def num_open(self) -> int:
        """Samples with neither a result nor a verdict, given out or not."""
        return len(self._open)

    def is_open(self, index: int) -> bool:
        """Whether the sample still wants a result."""
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
        self._last.clear()
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
        calm_s: float = 0.0,
    ) -> tuple[int, ...]:
        """Give out samples; empty if there are none for this worker.

        Args:
            length: Fresh samples at most; a suspect goes alone.
            worker: Who gets them.
            is_idle: The worker has nothing else, so it may try again what it has failed.
            held: Samples that it has, of which it gets none again.
            fresh_first: Prefer samples never tried to suspects.
            calm_s: For how long no worker has died, in seconds.
        """
        first, second = self._take_fresh, self._take_suspect
        if not fresh_first:
            first, second = second, first
        taken = first(length, worker, held) or second(length, worker, held)
        if taken or not is_idle:
            return taken
        return self._take_suspect(length, None, held) or self._take_last(calm_s)

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
        """One that the worker has not tried (None: any)."""
        for index in self._retries:
            if worker not in self._suspects[index].tried_on and index not in held:
                self._retries.remove(index)
                return (index,)
        return ()

    def _take_last(self, calm_s: float) -> tuple[int, ...]:
        for index in self._last:
            num_appeals = self._suspects[index].num_attempts - self._max_attempts
            if num_appeals < 0 or calm_s >= self._calm_s * 2.0**num_appeals:
                self._last.remove(index)
                return (index,)
        return ()

    def is_last_attempt(self, indices: tuple[int, ...]) -> bool:
        """Whether a call is an attempt at a suspect that waited until nothing else was to do."""
        suspect = self._suspects.get(indices[0])
        return len(indices) == 1 and suspect is not None and suspect.is_last

    def is_known(self, indices: tuple[int, ...]) -> bool:
        """Whether a call is of one sample that has failed by itself before."""
        suspect = self._suspects.get(indices[0])
        return len(indices) == 1 and suspect is not None and suspect.is_sure

    def needs_return(self, index: int, *, is_out: bool) -> bool:
        """Whether a sample whose call was dropped is to be put back.

        A suspect is, even while another worker has it too (``is_out``): that may be in a longer
        call, which is never doubled.
        """
        if index in self._suspects:
            return not self._is_queued(index)
        return index in self._open and not is_out

    def put_back(self, indices: Iterable[int]) -> None:
        """Return samples that are no suspects, to the front, in their order."""
        innocent: list[int] = []
        for index in indices:
            if index in self._suspects:
                self._queue_of(index).appendleft(index)
            else:
                innocent.append(index)
        self._fresh.extendleft(reversed(innocent))

    def charge(self, index: int, worker: int, *, is_sure: bool, is_death: bool = False) -> bool:
        """Count a failed attempt at an open sample and queue it again.

        Args:
            index: The sample.
            worker: Who tried.
            is_sure: It was this sample that failed, not one in the same call. The last attempt is
                only ever used up by a sure failure.
            is_death: The worker died, which may have had another cause.

        Returns:
            True if that was its last attempt; it is then closed.
        """
        suspect = self._suspects.setdefault(index, _Suspect())
        suspect.tried_on.add(worker)
        suspect.is_sure |= is_sure
        if index in self._last:
            return False
        if is_sure or suspect.num_attempts < self._max_attempts - 1:
            suspect.num_attempts += 1
        if suspect.num_attempts >= self._max_in_all:
            self.close(index)
            return True
        self._unqueue(index)
        num_left = self._max_attempts - suspect.num_attempts
        suspect.is_last |= num_left <= (1 if is_death else 0)
        self._queue_of(index).append(index)
        return False

    def may_double(self, indices: tuple[int, ...]) -> bool:
        """Whether a call is worth giving out again: it has open samples, none of them a suspect.

        The suspects of a longer call are queued on their own already; one alone may be.
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
        """The sample has its result or its verdict."""
        self._open.discard(index)
        if index in self._suspects:
            self._unqueue(index)
            del self._suspects[index]

    def _queue_of(self, index: int) -> deque[int]:
        return self._last if self._suspects[index].is_last else self._retries

    def _is_queued(self, index: int) -> bool:
        return index in self._queue_of(index)

    def _unqueue(self, index: int) -> None:
        if self._is_queued(index):
            self._queue_of(index).remove(index)
