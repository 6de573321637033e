"""Samples from a runner into the records, whatever fails on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from nasi_ray.config import EstimateConfig
from nasi_ray.errors import NasiRayError, SearchStoppedError, StorageError
from nasi_ray.nasi.estimator import num_samples_needed
from nasi_ray.progress import Progress
from nasi_ray.records import Sample
from nasi_ray.runner import Runner
from nasi_ray.search.board import Board
from nasi_ray.search.patience import Patience
from nasi_ray.spaces.base import SearchSpace
from nasi_ray.store import RecordStore, RecordWriter

_MAX_TOLD = 5
_HOPELESS = 20


def collect(
    indices: Sequence[int],
    *,
    runner: Runner[Sample],
    store: RecordStore,
    progress: Progress,
    space: SearchSpace,
    config: EstimateConfig,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Evaluate samples and store every one; on return they are durable.

    Args:
        indices: The samples to evaluate; those of ``config.num_samples`` that are not among them
            are in the store already.
        runner: Who evaluates.
        store: Where samples go.
        progress: Told of the state about twice a second.
        space: The search space.
        config: Settings of the estimate that the progress display shows.
        clock: Seconds that never go back.

    Raises:
        SearchStoppedError: On KeyboardInterrupt, after what was computed has been stored.
        StorageError: If storing keeps failing for a minute; says how many samples wait.
        NasiRayError: What the runner raised, or if the first 20 samples are all bad; what was
            computed has been stored.
    """
    stored = store.read().below(num_samples_needed(config))
    board = Board(stored, indices, space, config, clock)
    writer = RecordWriter(store, clock=clock)
    patience = Patience(writer, progress, clock)
    failures = _Failures(progress)
    try:
        for batch in runner.run(indices):
            with patience.on_storage():
                writer.add(batch)
            board.add(batch)
            failures.tell(batch)
            if board.is_due:
                progress.update(board.state(runner))
        patience.flush()
        progress.update(board.state(runner))
    except StorageError:
        raise
    except BaseException as error:
        patience.flush(attempts=2)
        if not isinstance(error, KeyboardInterrupt):
            raise
        # Counted in the store: the signal may have come between storing a batch and showing it.
        num_stored = board.num_total - len(store.missing(indices))
        num = f"{num_stored} of {board.num_total} samples stored"
        progress.message(f"stopping, {num}")
        raise SearchStoppedError(
            f"stopped with {num}; the same command continues from them"
        ) from None


class _Failures:
    """Tells of samples that failed, the first ones by name, and ends a run in which all do."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._num_failed = 0
        self._num_ok = 0

    def tell(self, batch: Sequence[Sample]) -> None:
        """Take a batch into account.

        Raises:
            NasiRayError: If the first samples of the run were all bad.
        """
        for sample in batch:
            if sample.status == "ok":
                self._num_ok += 1
                continue
            self._num_failed += 1
            if self._num_failed <= _MAX_TOLD:
                self._progress.message(f"sample {sample.index} {sample.status}: {sample.error}")
            elif self._num_failed == _MAX_TOLD + 1:
                self._progress.message("more samples failed; result.json names them all")
            if not self._num_ok and self._num_failed >= _HOPELESS:
                raise NasiRayError(
                    f"the first {self._num_failed} samples all failed, the last one: "
                    f"{sample.error}; change the settings that cause it"
                )
