"""The actor through which a training's workers and its driver talk; it imports little."""

from __future__ import annotations

from collections.abc import Sequence

import ray

from nasi_ray.errors import NasiRayError
from nasi_ray.progress import ProgressState


class Board:
    """Where the first worker reports, and the driver asks to stop; an actor beside the driver."""

    def __init__(self) -> None:
        self._state: ProgressState | None = None
        self._messages: list[str] = []
        self._is_stopping = False
        self._failure: NasiRayError | None = None

    @ray.method
    def post(self, state: ProgressState | None, messages: Sequence[str]) -> bool:
        """Report; returns whether to stop."""
        self._state = state or self._state
        self._messages += messages
        return self._is_stopping

    @ray.method
    def take(self) -> tuple[ProgressState | None, list[str]]:
        """What was reported since the last call."""
        taken = self._state, self._messages
        self._state, self._messages = None, []
        return taken

    @ray.method
    def stop(self) -> None:
        """Ask the workers to save and stop."""
        self._is_stopping = True

    @ray.method
    def fail(self, error: NasiRayError) -> None:
        """Report an error that comes back at every attempt."""
        self._failure = error

    @ray.method
    def failure(self) -> NasiRayError | None:
        """The error that was reported, if any."""
        return self._failure
