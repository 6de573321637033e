"""Storage that fails for a while."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from nasi_ray.errors import StorageError
from nasi_ray.progress import Progress
from nasi_ray.store import RecordWriter

_STORAGE_PATIENCE_S = 60.0
_MAX_WAITING = 100_000


class Patience:
    """Lets storage fail for a while: records wait in memory, and nothing is lost if it recovers."""

    def __init__(
        self, writer: RecordWriter[Any], progress: Progress, clock: Callable[[], float]
    ) -> None:
        self._writer, self._progress, self._clock = writer, progress, clock
        self._failing_since: float | None = None

    @contextlib.contextmanager
    def on_storage(self) -> Iterator[None]:
        """Tolerate a StorageError in the context, up to a minute or 100,000 waiting records."""
        try:
            yield
        except StorageError as error:
            now = self._clock()
            if self._failing_since is None:
                self._failing_since = now
                self._progress.message(f"{error}; trying again")
            if (
                now - self._failing_since > _STORAGE_PATIENCE_S
                or self._writer.num_waiting > _MAX_WAITING
            ):
                raise self._lost(error) from error
        else:
            if not self._writer.num_waiting:
                self._failing_since = None

    def flush(self, attempts: int = 6) -> None:
        """Store what waits, trying again with growing pauses (16 s in all for six attempts)."""
        for attempt in range(attempts):
            try:
                return self._writer.flush()
            except StorageError as error:
                if attempt == attempts - 1:
                    raise self._lost(error) from error
                self._progress.message(f"{error}; trying again")
                time.sleep(2**attempt / 2)

    def _lost(self, error: StorageError) -> StorageError:
        return StorageError(
            f"{error}; {self._writer.num_waiting} evaluated {self._writer.noun}s are in memory "
            "only and will be evaluated again by the same command once the storage works"
        )
