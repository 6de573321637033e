"""The link of a training in this process: signals ask it to save and stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from nasi_ray.progress import Progress, ProgressState
from nasi_ray.run.process import FORWARDED_STOP
from nasi_ray.training.world import Wish

_STOPS = (signal.SIGINT, signal.SIGTERM, FORWARDED_STOP)


class LocalLink:
    """Shows progress here, and stops at the end of a step."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.is_stopping = False
        """Whether to save and stop after this step."""
        self._is_told = False

    def update(self, state: ProgressState) -> None:
        """See ``Progress``."""
        self._progress.update(state)

    def message(self, text: str) -> None:
        """See ``Progress``."""
        self._progress.message(text)

    def close(self) -> None:
        """Do nothing: the display belongs to another."""

    def check(self, seconds_per_step: float) -> tuple[Wish, int]:
        """See ``Link``."""
        if not self.is_stopping:
            return "go", 1
        # Not from the handler: the signal may have come while the display was being drawn.
        if not self._is_told:
            self._is_told = True
            self._progress.message("stopping: saving a checkpoint")
        return "stop", 1

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the first SIGINT or SIGTERM as the wish to stop; the next goes where it would go.

        A signal that interrupted a step would lose the work since the last checkpoint.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _STOPS}

        def stop(signum: int, frame: FrameType | None) -> None:
            if not self.is_stopping:
                self.is_stopping = True
                return
            handler = before[signal.Signals(signum)]
            if callable(handler):
                handler(signum, frame)

        # What nobody handles, as in a notebook's kernel, keeps its meaning.
        heard = [number for number, handler in before.items() if callable(handler)]
        for number in heard:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number in heard:
                signal.signal(number, before[number])
