"""Storage that fails for a while."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from nasi_ray.errors import StorageError
from nasi_ray.records import RecordWriter

_STORAGE_PATIENCE_S = 60.0
_FLUSH_PATIENCE_S = 55.0
MAX_WAITING = 100_000
"""Records held in memory at most; of a search, about 100 MB."""


class Patience:
    """Lets storage fail for a while: records wait in memory, and nothing is lost if it recovers."""

    def __init__(
        self,
        writer: RecordWriter[Any],
        tell: Callable[[str], None],
        clock: Callable[[], float],
        num_waiting: Callable[[], int],
    ) -> None:
        """No failure yet.

        Args:
            writer: Who stores.
            tell: Told of failures that are tolerated, in a line.
            clock: Seconds that never go back.
            num_waiting: How many records are in memory only.
        """
        self._writer, self._tell, self._clock = writer, tell, clock
        self._num_waiting = num_waiting
        self._failing_since: float | None = None

    @contextlib.contextmanager
    def on_storage(self) -> Iterator[None]:
        """Tolerate a StorageError in the context, up to a minute or 100,000 waiting records.

        The minute begins at the first failure. Where S3 hangs, a call takes about a minute to fail
        (two if the lease of the run must be renewed first), so that it is over after two or three.
        """
        try:
            yield
        except StorageError as error:
            now = self._clock()
            if self._failing_since is None:
                self._failing_since = now
                self._tell(f"{error}; trying again")
            is_long = now - self._failing_since > _STORAGE_PATIENCE_S
            if is_long or self._num_waiting() >= MAX_WAITING:
                raise
        else:
            if not self._writer.num_waiting:
                self._failing_since = None

    def flush(self, attempts: int = 6) -> None:
        """Store what waits, trying again with growing pauses (16 s in all for six attempts).

        Not again after a minute: where the storage hangs, every attempt takes about that long.
        """
        began_at = time.monotonic()
        for attempt in range(attempts):
            try:
                return self._writer.flush()
            except StorageError as error:
                is_long = time.monotonic() - began_at >= _FLUSH_PATIENCE_S
                if is_long or attempt == attempts - 1:
                    raise
                self._tell(f"{error}; trying again")
                time.sleep(2**attempt / 2)
