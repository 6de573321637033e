"""One proxy's scores so far, for a progress display."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nasi_ray.progress import ProgressState
from nasi_ray.records.rows import ProxyScore, ScoreTable
from nasi_ray.run.tracker import Tally
from nasi_ray.runner import RunnerStatus


class ScoreBoard:
    """The ``Board`` of one proxy of a ranking."""

    def __init__(
        self,
        stored: ScoreTable,
        indices: Sequence[int],
        *,
        title: str,
        name: Callable[[int], str],
        clock: Callable[[], float],
    ) -> None:
        """Count.

        Args:
            stored: Scores that are there already, and belong to what is asked for.
            indices: What will be evaluated.
            title: What the display says beside the numbers.
            name: Index -> what messages call a score.
            clock: Seconds that never go back.
        """
        self._title, self._name = title, name
        self._tally = Tally(stored.index, stored.ok, indices, clock)

    @property
    def num_total(self) -> int:
        """See ``Board``."""
        return self._tally.num_total

    @property
    def is_due(self) -> bool:
        """See ``Board``."""
        return self._tally.is_due

    def name(self, row: ProxyScore) -> str:
        """See ``Board``."""
        return self._name(row.index)

    def add(self, batch: Sequence[ProxyScore]) -> None:
        """See ``Board``."""
        for score in batch:
            self._tally.add(score.index, ok=score.status == "ok")

    def state(self, workers: RunnerStatus) -> ProgressState:
        """See ``Board``."""
        tally = self._tally
        began, rate, eta_s = tally.begin()
        state = ProgressState(
            num_done=tally.num_done,
            num_total=tally.num_total,
            num_failed=tally.num_failed,
            samples_per_s=rate,
            eta_s=eta_s,
            num_workers=workers.num_alive,
            num_worker_deaths=workers.num_deaths,
            mean_trace_norm=None,
            smallest_margin=None,
            unit="scores",
            title=self._title,
        )
        tally.end(began)
        return state
