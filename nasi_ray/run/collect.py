"""Store samples or scores that a runner evaluates, and keep them when something fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from nasi_ray.errors import NasiRayError, NoGoodSamplesError, SearchStoppedError, StorageError
from nasi_ray.progress import Progress
from nasi_ray.records import RecordStore, Row
from nasi_ray.run.recorder import Recorder
from nasi_ray.run.tracker import ProgressTracker
from nasi_ray.runner import Runner

_MAX_TOLD = 5
_HOPELESS = 20
_MAX_ROUNDS = 3

R = TypeVar("R", bound=Row)


def collect_rows(
    indices: Sequence[int],
    *,
    runner: Runner[R],
    store: RecordStore[R, Any],
    progress: Progress,
    tracker: ProgressTracker[R],
    may_fail: bool = False,
    named_in: str = "result.json names",
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Evaluate records of any kind and store every one; on return the store lists them.

    What it does not list, though storing it has succeeded, is evaluated again.

    Args:
        indices: What to evaluate.
        runner: Who evaluates.
        store: Where the records go.
        progress: Shows the state about twice a second.
        tracker: Follows all records of the run, ``indices`` included, for the display.
        may_fail: Whether a failed record is a valid answer. Then only lost records, if there are
            no others, end the run.
        named_in: Where a user finds the failed records that messages do not name.
        clock: Seconds that never go back.

    Raises:
        StorageError: If the store does not list records that were stored three times.
        NasiRayError: As ``collect``.
    """
    failures = _Failures(progress, tracker, store.label, named_in, may_fail=may_fail)
    asked: Sequence[int] = indices
    with Recorder(store, progress, clock) as recorder:
        try:
            for rounds_left in reversed(range(_MAX_ROUNDS)):
                _evaluate(asked, runner, recorder, progress, failures)
                asked = [i for i in store.missing(indices) if i not in failures.lost]
                if not asked:
                    return
                failures.is_again = True
                if rounds_left:
                    progress.message(_vanished(asked, store, "evaluating them again"))
        except BaseException as error:
            _store_rest(recorder, progress, error)
            if not isinstance(error, KeyboardInterrupt):
                raise
            raise _stopped(indices, store, progress, tracker) from None
    raise StorageError(_vanished(asked, store, "check the storage, or use another"))


def _evaluate(
    indices: Sequence[int],
    runner: Runner[R],
    recorder: Recorder[R],
    progress: Progress,
    failures: _Failures[R],
) -> None:
    tracker = failures.tracker
    for batch in runner.run(indices):
        recorder.add(batch)
        failures.tell(batch)
        if tracker.is_due:
            progress.update(tracker.state(runner.status()))
    recorder.flush()
    progress.update(tracker.state(runner.status()))


def _vanished(asked: Sequence[int], store: RecordStore[Any, Any], advice: str) -> str:
    return (
        f"{len(asked)} {store.label}s were stored but are missing now, the first is {asked[0]}: "
        f"{store.uri} confirmed writes that it did not keep, or files in it were deleted; {advice}"
    )


def _store_rest(recorder: Recorder[Any], progress: Progress, end: BaseException) -> None:
    """Store what was computed before ``end``; a failure to store is reported beside ``end``."""
    try:
        recorder.flush(attempts=2)
    except NasiRayError as failure:
        if str(failure) != str(end):  # else the recorder's own error has ended the run
            progress.message(str(failure))
            end.add_note(str(failure))


def _stopped(
    indices: Sequence[int],
    store: RecordStore[Any, Any],
    progress: Progress,
    tracker: ProgressTracker[Any],
) -> SearchStoppedError:
    try:
        # Counted in the store: the signal may have come between storing a batch and showing it.
        num_stored = tracker.num_total - len(store.missing(indices))
    except NasiRayError as failure:
        progress.message(str(failure))
        return SearchStoppedError(
            "stopped; run the same command again to continue from what is stored"
        )
    num = f"{num_stored} of {tracker.num_total} {store.label}s stored"
    progress.message(f"stopping, {num}")
    return SearchStoppedError(
        f"stopped with {num}; run the same command again to continue from there"
    )


class _Failures(Generic[R]):
    """Reports records that are not ok, the first ones by name; ends a run if none is ok.

    Once ``is_again`` is set, all that comes has come before.
    """

    def __init__(
        self,
        progress: Progress,
        tracker: ProgressTracker[R],
        label: str,
        named_in: str,
        *,
        may_fail: bool,
    ) -> None:
        self.tracker = tracker
        self.lost: set[int] = set()
        """Indices no evaluation of which came to an end."""
        self.is_again = False
        self._progress, self._label = progress, label
        self._named_in, self._may_fail = named_in, may_fail
        self._num_bad = 0
        self._num_told = 0
        self._num_good = 0

    def tell(self, batch: Sequence[R]) -> None:
        """Take a batch into account.

        Raises:
            NoGoodSamplesError: If the first records of the run were all bad.
        """
        self.lost.update(row.index for row in batch if row.status == "lost")
        if self.is_again:
            return
        self.tracker.add(batch)
        for row in batch:
            if row.status == "ok":
                self._num_good += 1
                continue
            self._tell_one(row)
            if self._may_fail and row.status == "failed":
                self._num_good += 1
                continue
            self._num_bad += 1
            if not self._num_good and self._num_bad >= _HOPELESS:
                raise NoGoodSamplesError(
                    f"the first {self._num_bad} {self._label}s all failed, the last one with: "
                    f"{row.error}; change the settings that cause it"
                )

    def _tell_one(self, row: R) -> None:
        self._num_told += 1
        if self._num_told <= _MAX_TOLD:
            self._progress.message(f"{self.tracker.name(row)} {row.status}: {row.error}")
        elif self._num_told == _MAX_TOLD + 1:
            self._progress.message(f"more {self._label}s failed; {self._named_in} them all")
