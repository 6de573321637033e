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
        self._worker: str | None = None
        self._has_ended = False

    @ray.method
    def begin(self, worker: str) -> bool:
        """Begin an attempt.

        Args:
            worker: ID of the first worker's actor.

        Returns:
            Whether it has to train: not after a stop, nor after a failure that would come back.
        """
        if self._is_stopping or self._failure is not None:
            return False
        self._worker, self._has_ended = worker, False
        return True

    @ray.method
    def end(self) -> None:
        """Report that the first worker is done, or has saved and stopped."""
        self._has_ended = True

    @ray.method
    def worker(self) -> tuple[str | None, bool]:
        """ID of the actor that began the latest attempt, if any; whether it has ended well."""
        return self._worker, self._has_ended

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
