"""Storing in a thread of its own, so that storage that hangs does not hold up the workers."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

from nasi_ray.errors import RunLockedError, StorageError
from nasi_ray.progress import Progress
from nasi_ray.records import RecordStore, RecordWriter, Row
from nasi_ray.run.patience import MAX_WAITING, Patience

_PART_INTERVAL_S = 5.0
_MAX_PART = 4096
# A part costs the same (two fsyncs, mostly) however little is in it. Of a slow stream it waits for
# more, as long as a killed driver loses little by that: a fiftieth of the time it has run.
_WORTH_A_PART = 64
_WAIT_SHARE = 0.02
_LONGEST_WAIT_S = 60.0
_RETRY_S = 2.0
_LOOK_S = 1.0
_SILENCE_TOLD_S = 30.0

R = TypeVar("R", bound=Row)


class _Part:
    """What came before this is one part."""


@dataclass(frozen=True, slots=True)
class _Flush:
    """What came before this is to be stored now."""

    ticket: int
    attempts: int


class Recorder(Generic[R]):
    """Stores records in the order in which they are given, each once, a part every few seconds.

    A part is stored five seconds after the last one if 64 records came in them, and otherwise once
    there are 64 or after a fiftieth of the time it has run, 5 s at least and 60 s at most; also if
    nothing is called meanwhile, then up to a second later.

    A context manager, to be used by one thread (messages are told in it). What has been added and
    not flushed is lost with the process. Every method raises what the storing thread ended with:
    a StorageError that lasted (see ``Patience``), the loss of the run's lock, a bug.
    """

    def __init__(
        self,
        store: RecordStore[R, Any],
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts the thread; nothing is written yet.

        Args:
            store: Where the records go; not to be read meanwhile.
            progress: Told when the storage fails or hangs.
            clock: Seconds that never go back.
        """
        self._progress, self._clock, self._noun = progress, clock, store.noun
        # Only the caller's thread meets KeyboardInterrupt, between any two of its steps: whatever
        # it hands over is one append.
        self._requests: deque[Sequence[R] | _Part | _Flush] = deque()
        self._messages: deque[str] = deque()
        self._wake, self._moved = threading.Event(), threading.Event()
        self._part: list[R] = []
        # Each written by one thread only: those of marks have a twin for the storing thread.
        self._num_added = self._num_taken = self._num_stored = 0
        self._num_asked = self._num_flushed = 0
        self._num_marked = self._num_marked_here = 0
        self._began_at = self._marked_at = self._marked_here_at = clock()
        self._busy_since: float | None = None
        self._is_silence_told = False
        self._is_closing = False
        self._error: BaseException | None = None
        self._writer = RecordWriter(
            store, flush_interval_s=_RETRY_S, max_buffered=1, clock=time.monotonic
        )
        self._patience = Patience(
            self._writer, self._messages.append, clock, num_waiting=lambda: self.num_waiting
        )
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Records that are in memory only."""
        return self._num_added - self._num_stored

    def add(self, rows: Sequence[R]) -> None:
        """Take records; call it (with nothing) also while none arrives.

        Waits where as many as memory should hold are not stored yet.
        """
        if rows:
            self._requests.append(rows)
            self._num_added += len(rows)
            if self._num_unmarked <= len(rows):  # the thread waits for these without a limit
                self._wake.set()
        if self._num_unmarked and self._due_in_s() <= 0.0:
            self._ask(_Part())
        while self.num_waiting >= MAX_WAITING and self._error is None:
            self._await_move()
        self._tell()
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
        self._tell()
        self._raise_error()

    def __enter__(self) -> Recorder[R]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the thread, unless it hangs; flushing is the caller's."""
        self._is_closing = True
        self._wake.set()
        self._thread.join(timeout=1.0)

    @property
    def _num_unmarked(self) -> int:
        return self._num_added - max(self._num_marked, self._num_marked_here)

    def _due_in_s(self) -> float:
        num_unmarked = self._num_unmarked
        if num_unmarked >= _MAX_PART:
            return 0.0
        now = self._clock()
        patience_s = _PART_INTERVAL_S
        if num_unmarked < _WORTH_A_PART:
            share_s = _WAIT_SHARE * (now - self._began_at)
            patience_s = min(max(patience_s, share_s), _LONGEST_WAIT_S)
        return patience_s - (now - max(self._marked_at, self._marked_here_at))

    def _ask(self, request: _Part | _Flush) -> None:
        self._requests.append(request)
        self._num_marked, self._marked_at = self._num_added, self._clock()
        self._wake.set()

    def _await_move(self) -> None:
        self._moved.wait(timeout=1.0)
        self._moved.clear()
        self._tell()

    def _tell(self) -> None:
        while self._messages:
            self._progress.message(self._messages.popleft())
        since = self._busy_since
        if since is None:
            self._is_silence_told = False
        elif time.monotonic() - since > _SILENCE_TOLD_S and not self._is_silence_told:
            self._is_silence_told = True
            self._progress.message(
                f"the storage has not answered for {_SILENCE_TOLD_S:.0f} s; {self.num_waiting} "
                f"{self._noun}s wait in memory"
            )

    def _raise_error(self) -> None:
        if isinstance(self._error, StorageError | RunLockedError):
            once = " once the storage works" if isinstance(self._error, StorageError) else ""
            raise type(self._error)(
                f"{self._error}; {self.num_waiting} evaluated {self._noun}s are in memory only and "
                f"will be evaluated again by the same command{once}"
            ) from self._error
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while not self._is_closing or self._requests:
                is_called = self._wake.wait(timeout=self._look_in_s())
                self._wake.clear()
                while self._requests:
                    self._serve(self._requests.popleft())
                if self._part and not is_called and self._due_in_s() <= 0.0:
                    self._num_marked_here, self._marked_here_at = self._num_taken, self._clock()
                    self._store_part()
                if self._writer.num_waiting:
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
            self._patience.flush(request.attempts)
            self._stored()
            self._num_flushed = request.ticket
            self._moved.set()

    def _look_in_s(self) -> float | None:
        if self._writer.num_waiting:
            return _RETRY_S
        if self._part or self._requests:
            return max(_LOOK_S, self._due_in_s())
        return None

    def _store_part(self) -> None:
        if self._part:
            rows, self._part = self._part, []
            self._store(rows)

    def _store(self, rows: Sequence[R]) -> None:
        self._busy_since = time.monotonic()
        with self._patience.on_storage():
            self._writer.add(rows)
        self._stored()

    def _stored(self) -> None:
        self._busy_since = None
        self._num_stored = self._num_taken - len(self._part) - self._writer.num_waiting
        self._moved.set()
