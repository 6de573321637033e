"""What the benchmarks of the driver share: a search that is only collected, timed."""

from __future__ import annotations

import tempfile
import time
from typing import Any

from nasi_ray.config import EstimateConfig
from nasi_ray.progress import Progress, ProgressState
from nasi_ray.records import RecordStore, SampleRows
from nasi_ray.runner import Runner
from nasi_ray.search.collect import collect
from nasi_ray.spaces import get_space
from nasi_ray.storage import LocalStorage


class Silent:
    """A progress display that shows nothing."""

    def update(self, state: ProgressState) -> None:
        """Ignore."""

    def message(self, text: str) -> None:
        """Ignore."""

    def close(self) -> None:
        """Nothing to do."""


def collect_timed(
    runner: Runner[Any], num_samples: int, progress: Progress | None = None
) -> tuple[float, float]:
    """Wall and driver CPU seconds of collecting good samples, records on disk included."""
    with tempfile.TemporaryDirectory() as folder:
        store = RecordStore.open(LocalStorage(folder), identity={"bench": 1}, rows=SampleRows(84))
        wall, cpu = time.perf_counter(), time.process_time()
        collect(
            range(num_samples),
            runner=runner,
            store=store,
            progress=progress or Silent(),
            space=get_space("darts"),
            config=EstimateConfig(num_samples=num_samples),
        )
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        assert int(store.read().ok.sum()) == num_samples
    return wall, cpu
