"""Progress of one proxy's scores, for a display."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from nasi_ray.progress import ProgressState
from nasi_ray.records.rows import ProxyScore, ScoreTable
from nasi_ray.run.tracker import Counter
from nasi_ray.runner import RunnerStatus


class ScoreProgress:
    """The ``ProgressTracker`` of one proxy of a ranking."""

    def __init__(
        self,
        stored: ScoreTable,
        indices: Sequence[int],
        *,
        title: str,
        name: Callable[[int], str],
        clock: Callable[[], float],
    ) -> None:
        """Start with the stored scores.

        Args:
            stored: Stored scores of this ranking.
            indices: Scores that will be evaluated.
            title: Text that the display shows beside the numbers.
            name: Index -> how messages name a score.
            clock: Monotonic seconds.
        """
        self._title, self._name = title, name
        self._counter = Counter(stored.index, stored.ok, indices, clock)

    @property
    def num_total(self) -> int:
        """See ``ProgressTracker``."""
        return self._counter.num_total

    @property
    def is_due(self) -> bool:
        """See ``ProgressTracker``."""
        return self._counter.is_due

    def name(self, row: ProxyScore) -> str:
        """See ``ProgressTracker``."""
        return self._name(row.index)

    def add(self, batch: Sequence[ProxyScore]) -> None:
        """See ``ProgressTracker``."""
        for score in batch:
            self._counter.add(score.index, ok=score.status == "ok")

    def state(self, workers: RunnerStatus) -> ProgressState:
        """See ``ProgressTracker``."""
        began, state = self._counter.begin(workers)
        self._counter.end(began)
        return replace(state, unit="scores", title=self._title)
