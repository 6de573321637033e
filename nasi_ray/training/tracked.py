"""Trainings, as Weights & Biases and MLflow show them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from nasi_ray.errors import NasiRayError
from nasi_ray.progress import Progress
from nasi_ray.run.tracking import Tracked, Tracking, summary_of, tracked_settings
from nasi_ray.spaces import Genotype
from nasi_ray.storage import open_storage
from nasi_ray.training.metrics import read_metrics
from nasi_ray.training.result import read_result
from nasi_ray.training.settings import TrainJob

_NOT_MEASURED = ("epoch", "time")


@contextlib.contextmanager
def tracked(job: TrainJob, uri: str, progress: Progress) -> Iterator[Progress]:
    """The display for one training, which sends what is new of it to services.

    Args:
        job: Settings.
        uri: Its run directory.
        progress: The display to be followed.

    Raises:
        ConfigError: If the package of a service is not installed.
    """
    with Tracking(job.tracking, progress) as tracking:
        send = partial(send_training, tracking, job, uri)
        try:
            yield tracking.following(send)
        except BaseException:
            if tracking.is_open:
                send()
            raise
        send()


def send_training(
    tracking: Tracking, job: TrainJob, uri: str, *, group: str = "", ended: str = ""
) -> None:
    """Send what is new of a training, from its run directory.

    Args:
        tracking: Who is told.
        job: Its settings.
        uri: Its run directory.
        group: What it is part of.
        ended: How it has ended if it left no result, such as ``stopped early``; empty: it has not.
    """
    if not tracking.is_live:
        return
    try:
        storage = open_storage(uri)
        rows, result = read_metrics(storage), read_result(storage)
    except NasiRayError:
        return  # the next time; the training itself says what is wrong
    points = [
        (int(row["epoch"]), {k: v for k, v in row.items() if k not in _NOT_MEASURED})
        for row in rows
    ]
    summary: dict[str, Any] | None = {"ended": ended} if ended else None
    if result is not None:
        content = result.content
        best = {f"best_{name}": value for name, value in content.get("best", {}).items()}
        summary = {**summary_of(content), **best}
        if "genotype" in content:
            summary["architecture"] = Genotype.from_dict(content["genotype"]).to_string()
    run = Tracked(storage=storage, settings=tracked_settings(job), group=group)
    tracking.send(run, points, summary)
