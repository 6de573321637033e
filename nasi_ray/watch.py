"""The progress of a run that another process or cluster makes: ``nasi-ray watch RUN``."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from nasi_ray.errors import (
    ConfigError,
    RecordConflictError,
    RecordCorruptError,
    UnknownNameError,
)
from nasi_ray.run.command_line import parse

if TYPE_CHECKING:
    from nasi_ray.progress import Progress, ProgressState
    from nasi_ray.search.settings import SearchJob
    from nasi_ray.storage import Storage

_QUIET_S = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchJob:
    """Show the progress of a search, sweep or training from what it has stored, until it is done.

    Nothing is written. Ctrl-C ends the display, not the run.
    """

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """Run directory, a path or s3://bucket/prefix."""
    once: bool = False
    """Show the state once, and end."""
    interval_s: float = 5.0
    """Seconds between two updates."""

    def __post_init__(self) -> None:
        if not 0.1 <= self.interval_s <= 86_400:
            raise ConfigError(f"interval_s is {self.interval_s}; allowed: 0.1 to 86400")


def main(argv: Sequence[str]) -> int:
    """Parse, and watch."""
    job = parse(WatchJob, argv, "watch")
    from nasi_ray.display.progress import make_progress

    with (
        contextlib.closing(make_progress(sys.stderr)) as progress,
        contextlib.suppress(KeyboardInterrupt),
    ):
        watch(job, progress)
    return 0


def watch(
    job: WatchJob, progress: Progress, *, sleep: Callable[[float], None] = time.sleep
) -> ProgressState:
    """Show a run's progress until all is done.

    Args:
        job: Settings.
        progress: Display; not closed here.
        sleep: Waits for some seconds.

    Returns:
        The last state.

    Raises:
        RecordConflictError: If there is no run, or one of another kind.
        RecordCorruptError: If the run's files cannot be read.
        StorageError: If the storage fails.
    """
    from nasi_ray.progress import Rate

    look = _reader_of(job.run)
    state, now = look(), time.monotonic()
    rate, changed = Rate(state.num_done, now), now
    while True:
        per_second, eta_s = rate.update(state.num_done, state.num_total, now)
        state = replace(state, per_second=per_second, eta_s=eta_s)
        progress.update(state)
        if job.once or state.num_done == state.num_total:
            return state
        sleep(job.interval_s)
        before, (state, now) = state, (look(), time.monotonic())
        if state.num_done != before.num_done:
            changed = now
        elif now - changed > _QUIET_S:
            changed = now
            progress.message(
                f"nothing new for {_QUIET_S:.0f} s; if no process works on {job.run} any more, run "
                "the command that made it again to continue"
            )


def _reader_of(uri: str) -> Callable[[], ProgressState]:
    """What looks at a run of the kind that its settings name."""
    import yaml

    from nasi_ray.storage import open_storage

    storage = open_storage(uri)
    try:
        settings = yaml.safe_load(storage.read("settings.yaml"))
        kind = settings.pop("job")
    except FileNotFoundError:
        raise RecordConflictError(
            f"{storage.uri} holds no run; name the --out of a search, sweep or training"
        ) from None
    except (yaml.YAMLError, AttributeError, LookupError, TypeError, ValueError, RecursionError):
        raise RecordCorruptError(
            f"{storage.uri}/settings.yaml cannot be read; run the same command again"
        ) from None
    if str(kind) not in _READERS:
        raise RecordConflictError(
            f"{storage.uri} is the run of a {str(kind)[:40]}; watch shows {', '.join(_READERS)}"
        )
    try:
        return _READERS[kind](storage, {**settings, "out": storage.uri})
    except (ConfigError, UnknownNameError) as error:
        raise RecordCorruptError(f"{storage.uri}/settings.yaml: {error}") from error


def _watch_search(storage: Storage, settings: Mapping[str, Any]) -> Callable[[], ProgressState]:
    from nasi_ray.search.settings import make_search_job

    return _samples_of([make_search_job(settings, where="settings.yaml")])


def _watch_sweep(storage: Storage, settings: Mapping[str, Any]) -> Callable[[], ProgressState]:
    from nasi_ray.sweep.settings import combinations, make_sweep_job

    points = combinations(make_sweep_job(settings, where="settings.yaml"))
    return _samples_of([job for point in points for job in point.jobs])


def _samples_of(jobs: Sequence[SearchJob]) -> Callable[[], ProgressState]:
    """Counts the records of searches; those into one run directory share them."""
    from nasi_ray.nasi.estimator import num_samples_needed
    from nasi_ray.progress import ProgressState
    from nasi_ray.records import RecordStore, read_identity
    from nasi_ray.search.names import series_of
    from nasi_ray.search.series import rows_of
    from nasi_ray.spaces import get_space
    from nasi_ray.storage import open_storage

    needed: dict[tuple[str, str], int] = {}
    for job in jobs:
        for series in series_of(job.estimate, job.measure):
            key = job.run_uri, series
            needed[key] = max(needed.get(key, 0), num_samples_needed(job.estimate))
    rows = {job.run_uri: get_space(job.samples.space).num_logits for job in jobs}
    stores: dict[tuple[str, str], RecordStore[Any, Any]] = {}

    def missing(uri: str, series: str) -> int:
        if (uri, series) not in stores:
            storage = open_storage(uri)
            if (stored := read_identity(storage)) is None:
                return needed[uri, series]
            stores[uri, series] = RecordStore.open(
                storage, identity=stored[0], rows=rows_of(series, rows[uri])
            )
        return len(stores[uri, series].missing(range(needed[uri, series])))

    stopping = {job.run_uri: job.stop_when_stable for job in jobs if job.stop_when_stable}

    def look() -> ProgressState:
        for uri, stop in list(stopping.items()):
            if (num := _ended_with(uri, stop)) is not None:
                needed.update({key: num for key in needed if key[0] == uri})
                del stopping[uri]
        left, total = sum(missing(*key) for key in needed), sum(needed.values())
        return ProgressState(num_done=total - left, num_total=total, title="")

    return look


def _ended_with(uri: str, stop: float) -> int | None:
    """With how many samples a search has ended by itself; None if it has not."""
    from nasi_ray.storage import open_storage

    try:
        result = json.loads(open_storage(uri).read("result.json"))
        return int(result["num_samples"]) if result.get("stop_when_stable") == stop else None
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _watch_train(storage: Storage, settings: Mapping[str, Any]) -> Callable[[], ProgressState]:
    from nasi_ray.progress import ProgressState
    from nasi_ray.storage import open_storage
    from nasi_ray.training.cells import trials
    from nasi_ray.training.metrics import read_metrics
    from nasi_ray.training.settings import make_train_job

    job = make_train_job(settings, where="settings.yaml")
    jobs = [job] if job.subject.genotypes is None else trials(job, storage.uri)

    def look() -> ProgressState:
        done = sum(len(read_metrics(open_storage(one.out))) for one in jobs)
        return ProgressState(
            num_done=done, num_total=len(jobs) * job.training.epochs, unit="epochs", title=""
        )

    return look


_READERS: dict[str, Callable[[Storage, Mapping[str, Any]], Callable[[], ProgressState]]] = {
    "search": _watch_search,
    "sweep": _watch_sweep,
    "train": _watch_train,
}
"""Job, as settings.yaml names it -> what makes its reader."""
