"""Buffered appends: a few large parts a minute instead of one for every record."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

from nasi_ray.errors import NasiRayError
from nasi_ray.records.format import Row
from nasi_ray.records.store import RecordStore

_LOG = logging.getLogger(__name__)

R = TypeVar("R", bound=Row)


class RecordWriter(Generic[R]):
    """Collects records and appends them when they are many or have waited long.

    A context manager: leaving it flushes. Nothing is written behind the caller's back: time is
    looked at in ``add`` only, so call it (with nothing) while no record arrives.
    """

    def __init__(
        self,
        store: RecordStore[R, Any],
        *,
        flush_interval_s: float = 2.0,
        max_buffered: int = 4096,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is written yet.

        Args:
            store: Where the records go.
            flush_interval_s: Longest time between two appends while records come (≥ 0).
            max_buffered: Records that are appended at once, however short they waited (≥ 1).
            clock: Seconds that never go back.
        """
        self._store = store
        self._flush_interval_s = flush_interval_s
        self._max_buffered = max_buffered
        self._clock = clock
        self._waiting: list[R] = []
        self._num_tried = 0
        self._last_flush = clock()
        self._is_failing = False

    @property
    def noun(self) -> str:
        """What messages call a record; its plural ends in s."""
        return self._store.noun

    @property
    def num_waiting(self) -> int:
        """Records that are in memory only."""
        return len(self._waiting)

    def add(self, rows: Sequence[R]) -> None:
        """Take records, and flush if it is time to.

        Raises:
            StorageError: If the flush failed; the records are taken all the same and wait. It is
                tried again by a later ``add`` after ``flush_interval_s``, or by ``flush``.
            RunLockedError: If this driver lost the run to another; as above.
        """
        self._waiting += rows
        is_full = len(self._waiting) >= self._max_buffered and not self._is_failing
        if is_full or self._clock() - self._last_flush >= self._flush_interval_s:
            self.flush()

    def flush(self) -> None:
        """Append what waits; durable on return.

        Raises:
            StorageError: If the write failed; the records still wait.
            RunLockedError: If this driver lost the run to another; the records still wait.
        """
        self._is_failing = True
        try:
            while self._waiting:
                # An append that failed may have gone through after all (its answer lost): only
                # the same records again make the same part.
                self._num_tried = self._num_tried or len(self._waiting)
                self._store.append(self._waiting[: self._num_tried])
                self._waiting = self._waiting[self._num_tried :]
                self._num_tried = 0
            self._is_failing = False
        finally:
            self._last_flush = self._clock()

    def __enter__(self) -> RecordWriter[R]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Flush; where another error is on its way already, a failure is only logged."""
        try:
            self.flush()
        except NasiRayError as flush_error:
            if error is None:
                raise
            _LOG.error("%d %ss are lost: %s", self.num_waiting, self.noun, flush_error)
