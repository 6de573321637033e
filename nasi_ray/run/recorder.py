"""Store records in a separate thread, so that workers do not wait when the storage hangs."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

from nasi_ray.errors import (
    RecordConflictError,
    RecordCorruptError,
    RunLockedError,
    StorageError,
    StorageRefusedError,
)
from nasi_ray.progress import Progress
from nasi_ray.records import RecordStore, Row

R = TypeVar("R", bound=Row)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecorderPolicy:
    """When records are stored, and how long storage may fail."""

    part_interval_s: float = 5.0
    """Shortest time between two parts, unless one is full."""
    max_part: int = 4096
    """Number of records that are stored as a part at once."""
    min_part: int = 64
    """Number of records that are worth a part. A part costs about the same (two fsyncs) however
    few records it has, so a slow stream waits for more."""
    wait_share: float = 0.02
    """Longest wait for ``min_part`` records, as a share of the recorder's run time: a killed driver
    loses little."""
    max_wait_s: float = 60.0
    """Longest wait for ``min_part`` records."""
    poll_s: float = 1.0
    """How often the thread checks whether a part is due while no method is called."""
    retry_s: float = 2.0
    """Pause after a failed append."""
    grace_s: float = 60.0
    """How long appends may fail. When S3 hangs, a call fails after about a minute (two if the run's
    lease must be renewed first), so that the run ends after two or three minutes."""
    flush_grace_s: float = 55.0
    """How long a flush starts new attempts; each takes about a minute when the storage hangs."""
    max_waiting: int = 100_000
    """Most records held in memory; about 100 MB for a search."""
    silence_s: float = 30.0
    """After this long without an answer from the storage, a message says so."""


class StorageRetry(Generic[R]):
    """Appends records, and merges their parts; what cannot be stored waits and is tried again."""

    def __init__(
        self,
        store: RecordStore[R, Any],
        policy: RecorderPolicy,
        report: Callable[[str], None],
        clock: Callable[[], float],
        num_in_memory: Callable[[], int],
    ) -> None:
        """Start without a failure.

        Args:
            store: Where the records go.
            policy: How long storage may fail.
            report: Called with a line about a failure that is tried again.
            clock: Seconds that never go back.
            num_in_memory: Records not stored yet, wherever they wait.
        """
        self._store, self._policy, self._report = store, policy, report
        self._clock, self._num_in_memory = clock, num_in_memory
        self._waiting: list[R] = []
        self._num_tried = 0
        self._may_merge = True
        self._failing_since: float | None = None
        self._failed_at = 0.0

    @property
    def num_waiting(self) -> int:
        """Records that an append has failed for."""
        return len(self._waiting)

    def append(self, rows: Sequence[R]) -> None:
        """Append records and those that wait, unless an append failed less than ``retry_s`` ago.

        Raises:
            StorageError: After ``grace_s``, or with ``max_waiting`` records in memory.
            RunLockedError: If this driver lost the run to another.
        """
        self._waiting += rows
        is_failing = self._failing_since is not None
        if is_failing and time.monotonic() - self._failed_at < self._policy.retry_s:
            return
        try:
            self._append()
        except StorageError as error:
            now, self._failed_at = self._clock(), time.monotonic()
            if self._failing_since is None:
                self._failing_since = now
                self._report(f"{error}; trying again")
            is_long = now - self._failing_since > self._policy.grace_s
            if is_long or self._num_in_memory() >= self._policy.max_waiting:
                raise
        else:
            self._merge()

    def flush(self, attempts: int) -> None:
        """Append the waiting records, with growing pauses between the attempts.

        Raises:
            StorageError: If the last attempt failed, or one failed after ``flush_grace_s``.
            RunLockedError: If this driver lost the run to another.
        """
        began_at = time.monotonic()
        for attempt in range(attempts):
            try:
                return self._append()
            except StorageError as error:
                is_long = time.monotonic() - began_at >= self._policy.flush_grace_s
                if is_long or attempt == attempts - 1:
                    raise
                self._report(f"{error}; trying again")
                time.sleep(2**attempt / 2)

    def _merge(self) -> None:
        if not self._may_merge:
            return
        try:
            self._store.merge_small()
        except (RecordConflictError, RecordCorruptError, StorageRefusedError) as error:
            self._may_merge = False
            self._report(f"small record files are no longer merged: {error}")
        except StorageError:
            pass  # the next append meets the same storage, and says so

    def _append(self) -> None:
        while self._waiting:
            # A failed append may have been stored after all, with its answer lost. Only the same
            # records make the same part again.
            self._num_tried = self._num_tried or len(self._waiting)
            self._store.append(self._waiting[: self._num_tried])
            self._waiting = self._waiting[self._num_tried :]
            self._num_tried = 0
        self._failing_since = None


class _Part:
    """Marks the end of a part."""


@dataclass(frozen=True, slots=True)
class _Flush:
    """Asks for everything before it to be stored now."""

    ticket: int
    attempts: int


class Recorder(Generic[R]):
    """Stores records in the order given, each once, with a part every few seconds.

    A part is stored five seconds after the last one if 64 records have come by then. Otherwise it
    is stored once there are 64, or after a fiftieth of the run time (at least 5 s, at most 60 s).
    If no method is called meanwhile, this can take a second longer. ``RecorderPolicy`` holds these
    numbers.

    A context manager for use by one thread, in which messages are shown. Records that were added
    and not flushed are lost with the process. Every method raises the error that ended the storing
    thread: a lasting StorageError, the loss of the run's lock, or a bug.
    """

    def __init__(
        self,
        store: RecordStore[R, Any],
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
        policy: RecorderPolicy = RecorderPolicy(),
    ) -> None:
        """Start the thread; nothing is written yet.

        Args:
            store: Where the records go; not to be read meanwhile.
            progress: Shows messages when the storage fails or hangs.
            clock: Seconds that never go back.
            policy: When a part is stored, and how long storage may fail.
        """
        self._progress, self._clock, self._label = progress, clock, store.label
        self._policy = policy
        # KeyboardInterrupt can hit the caller's thread between any two steps, so a hand-over is
        # one append.
        self._requests: deque[Sequence[R] | _Part | _Flush] = deque()
        self._messages: deque[str] = deque()
        self._wake, self._moved = threading.Event(), threading.Event()
        self._part: list[R] = []
        # Each is written by one thread only; the counts of marks exist once per thread.
        self._num_added = self._num_taken = self._num_stored = 0
        self._num_asked = self._num_flushed = 0
        self._num_marked = self._num_marked_here = 0
        self._began_at = self._marked_at = self._marked_here_at = clock()
        self._busy_since: float | None = None
        self._is_silence_shown = False
        self._is_closing = False
        self._error: BaseException | None = None
        self._storage = StorageRetry(
            store, policy, self._messages.append, clock, num_in_memory=lambda: self.num_waiting
        )
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Records that are in memory only."""
        return self._num_added - self._num_stored

    def add(self, rows: Sequence[R]) -> None:
        """Take records; to be called regularly, with an empty list if there are none.

        Waits while ``max_waiting`` records are not stored yet.
        """
        if rows:
            self._requests.append(rows)
            self._num_added += len(rows)
            if self._num_unmarked <= len(rows):  # the thread waits for these without a limit
                self._wake.set()
        if self._num_unmarked and self._due_in_s() <= 0.0:
            self._ask(_Part())
        while self.num_waiting >= self._policy.max_waiting and self._error is None:
            self._await_move()
        self._show_messages()
        self._raise_error()

    def flush(self, attempts: int = 6) -> None:
        """Store what was added; durable on return.

        Args:
            attempts: Times to try, with growing pauses (16 s in all for six), within a minute.
        """
        self._num_asked += 1
        ticket = self._num_asked
        self._ask(_Flush(ticket, attempts))
        while self._num_flushed < ticket and self._error is None:
            self._await_move()
        self._show_messages()
        self._raise_error()

    def __enter__(self) -> Recorder[R]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the thread, unless it hangs; the caller flushes before."""
        self._is_closing = True
        self._wake.set()
        self._thread.join(timeout=1.0)

    @property
    def _num_unmarked(self) -> int:
        return self._num_added - max(self._num_marked, self._num_marked_here)

    def _due_in_s(self) -> float:
        num_unmarked = self._num_unmarked
        policy = self._policy
        if num_unmarked >= policy.max_part:
            return 0.0
        now = self._clock()
        wait_s = policy.part_interval_s
        if num_unmarked < policy.min_part:
            share_s = policy.wait_share * (now - self._began_at)
            wait_s = min(max(wait_s, share_s), policy.max_wait_s)
        return wait_s - (now - max(self._marked_at, self._marked_here_at))

    def _ask(self, request: _Part | _Flush) -> None:
        self._requests.append(request)
        self._num_marked, self._marked_at = self._num_added, self._clock()
        self._wake.set()

    def _await_move(self) -> None:
        self._moved.wait(timeout=1.0)
        self._moved.clear()
        self._show_messages()

    def _show_messages(self) -> None:
        while self._messages:
            self._progress.message(self._messages.popleft())
        since, silence_s = self._busy_since, self._policy.silence_s
        if since is None:
            self._is_silence_shown = False
        elif time.monotonic() - since > silence_s and not self._is_silence_shown:
            self._is_silence_shown = True
            self._progress.message(
                f"the storage has not answered for {silence_s:.0f} s; {self.num_waiting} "
                f"{self._label}s wait in memory"
            )

    def _raise_error(self) -> None:
        if isinstance(self._error, StorageError | RunLockedError):
            once = " once the storage works," if isinstance(self._error, StorageError) else ""
            raise type(self._error)(
                f"{self._error}; {self.num_waiting} evaluated {self._label}s were not stored; "
                f"run the same command again{once} to evaluate them again"
            ) from self._error
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while not self._is_closing or self._requests:
                is_called = self._wake.wait(timeout=self._wake_in_s())
                self._wake.clear()
                while self._requests:
                    self._serve(self._requests.popleft())
                if self._part and not is_called and self._due_in_s() <= 0.0:
                    self._num_marked_here, self._marked_here_at = self._num_taken, self._clock()
                    self._store_part()
                if self._storage.num_waiting:
                    self._store([])
        except BaseException as error:
            self._error = error
        finally:
            self._busy_since = None
            self._moved.set()

    def _serve(self, request: Sequence[R] | _Part | _Flush) -> None:
        if not isinstance(request, _Part | _Flush):
            self._part += request
            self._num_taken += len(request)
            return
        self._store_part()
        if isinstance(request, _Flush):
            self._busy_since = time.monotonic()
            self._storage.flush(request.attempts)
            self._stored()
            self._num_flushed = request.ticket
            self._moved.set()

    def _wake_in_s(self) -> float | None:
        if self._storage.num_waiting:
            return self._policy.retry_s
        if self._part or self._requests:
            return max(self._policy.poll_s, self._due_in_s())
        return None

    def _store_part(self) -> None:
        if self._part:
            rows, self._part = self._part, []
            self._store(rows)

    def _store(self, rows: Sequence[R]) -> None:
        self._busy_since = time.monotonic()
        self._storage.append(rows)
        self._stored()

    def _stored(self) -> None:
        self._busy_since = None
        self._num_stored = self._num_taken - len(self._part) - self._storage.num_waiting
        self._moved.set()
