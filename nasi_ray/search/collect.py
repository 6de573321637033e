"""Store the records of a search that a runner evaluates."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from nasi_ray.config import EstimateConfig
from nasi_ray.nasi.estimator import num_samples_needed
from nasi_ray.progress import Progress
from nasi_ray.records import RecordStore
from nasi_ray.run.collect import collect_rows
from nasi_ray.run.tracker import CountProgress, ProgressTracker
from nasi_ray.runner import Runner
from nasi_ray.search.names import SAMPLES
from nasi_ray.search.tracker import SampleProgress
from nasi_ray.spaces.base import SearchSpace


def collect(
    indices: Sequence[int],
    *,
    series: str = SAMPLES,
    runner: Runner[Any],
    store: RecordStore[Any, Any],
    progress: Progress,
    space: SearchSpace,
    config: EstimateConfig,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Evaluate records of one series and store every one; on return they are durable.

    Args:
        indices: What to evaluate; the others of ``config.num_samples`` are in the store.
        series: Its name.
        runner: Evaluates them.
        store: Where samples go.
        progress: Shows the state about twice a second.
        space: The search space.
        config: Settings of the estimate shown by the progress display.
        clock: Seconds that never go back.

    Raises:
        SearchStoppedError: On KeyboardInterrupt, after what was computed has been stored (or a
            message said how much was not).
        StorageError: If storing keeps failing for a minute (two or three when S3 hangs); says how
            many samples are not stored.
        NasiRayError: If the runner raises it, or the first 20 samples are all bad. What was
            computed is stored, or a message and a note of the error say how much is not.
    """
    stored = store.read().below(num_samples_needed(config))
    tracker: ProgressTracker[Any]
    if series == SAMPLES:
        tracker = SampleProgress(stored, indices, space, config, clock)
    else:
        tracker = CountProgress(
            stored,
            indices,
            unit="samples",
            title=series,
            name=lambda index: f"{series} of sample {index}",
            clock=clock,
        )
    collect_rows(
        indices,
        runner=runner,
        store=store,
        progress=progress,
        tracker=tracker,
        may_fail=series != SAMPLES,
        clock=clock,
    )
