"""Store the samples that a runner evaluates."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from nasi_ray.config import EstimateConfig
from nasi_ray.nasi.estimator import num_samples_needed
from nasi_ray.progress import Progress
from nasi_ray.records import RecordStore
from nasi_ray.records.rows import Sample, SampleTable
from nasi_ray.run.collect import collect_rows
from nasi_ray.runner import Runner
from nasi_ray.search.tracker import SampleProgress
from nasi_ray.spaces.base import SearchSpace


def collect(
    indices: Sequence[int],
    *,
    runner: Runner[Sample],
    store: RecordStore[Sample, SampleTable],
    progress: Progress,
    space: SearchSpace,
    config: EstimateConfig,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Evaluate samples and store every one; on return they are durable.

    Args:
        indices: The samples to evaluate; the others of ``config.num_samples`` are in the store.
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
    tracker = SampleProgress(stored, indices, space, config, clock)
    collect_rows(
        indices, runner=runner, store=store, progress=progress, tracker=tracker, clock=clock
    )
