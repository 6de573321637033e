"""The figures of each search of a sweep: for TensorBoard, and for services that are asked for."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from nasi_ray.display.tensorboard import EVENTS, event_file
from nasi_ray.errors import StorageError
from nasi_ray.progress import Progress
from nasi_ray.run.identity import digest_of
from nasi_ray.run.tracking import Tracking
from nasi_ray.search.figures import curve_of, search_summary, send_search
from nasi_ray.search.result import SearchResult
from nasi_ray.storage import Storage
from nasi_ray.sweep.settings import Combination

TENSORBOARD = "tensorboard"
"""Folder of a sweep; in it a folder a search, which TensorBoard shows side by side."""
_MAX_NAME = 100


class SweepFigures:
    """Takes each search of a sweep when it has ended."""

    def __init__(
        self,
        storage: Storage,
        points: Sequence[Combination],
        tracking: Tracking,
        progress: Progress,
    ) -> None:
        self._storage, self._tracking, self._progress = storage, tracking, progress
        self._searches = [(one, point.changed) for point in points for one in point.jobs]

    def __call__(self, position: int, result: SearchResult) -> None:
        """Write and send the figures of a search.

        Args:
            position: Of its job among those of all combinations.
            result: Its result.
        """
        job, changed = self._searches[position]
        settings = {**changed, "seed": job.samples.seed}
        name = f"{TENSORBOARD}/{_folder(settings)}/{EVENTS}"
        try:
            self._storage.write(name, _events(settings, result))
        except StorageError as error:  # they can be made again, and the other searches go on
            self._progress.message(f"no figures for TensorBoard: {error}")
        group = self._storage.uri.rstrip("/").rpartition("/")[2]
        send_search(self._tracking, job, result, group=group)


def _folder(settings: Mapping[str, Any]) -> str:
    whole = ",".join(f"{name}={value}" for name, value in settings.items())
    name = re.sub(r"[^\w.,=+-]", "_", whole)[:_MAX_NAME]
    return name if name == whole else f"{name}-{digest_of({'name': whole})}"


def _events(settings: Mapping[str, Any], result: SearchResult) -> bytes:
    now = time.time()
    curve = [
        (name, value, step, now)
        for step, figures in curve_of(result)
        for name, value in figures.items()
    ]
    final = [
        (name, float(value), result.num_samples, now)
        for name, value in search_summary(result).items()
        # Those of the last command are not of the search: an answer has none.
        if name != "seconds" and not isinstance(value, str)
    ]
    shown = {k: v if isinstance(v, int | float) else str(v) for k, v in settings.items()}
    return event_file([*curve, *final], shown)
