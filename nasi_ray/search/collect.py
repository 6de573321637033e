"""Samples from a runner into the records."""

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
        indices: The samples to evaluate; those of ``config.num_samples`` that are not among them
            are in the store already.
        runner: Who evaluates.
        store: Where samples go.
        progress: Told of the state about twice a second.
        space: The search space.
        config: Settings of the estimate that the progress display shows.
        clock: Seconds that never go back.

    Raises:
        SearchStoppedError: On KeyboardInterrupt, after what was computed has been stored (or a
            message said how much was not).
        StorageError: If storing keeps failing for a minute (two or three where S3 hangs); says how
            many samples wait.
        NasiRayError: What the runner raised, or if the first 20 samples are all bad; what was
            computed has been stored, or a message and a note of the error say how much was not.
    """
    stored = store.read().below(num_samples_needed(config))
    tracker = SampleProgress(stored, indices, space, config, clock)
    collect_rows(
        indices, runner=runner, store=store, progress=progress, tracker=tracker, clock=clock
    )
