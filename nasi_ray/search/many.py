"""Many searches side by side, each a trial of Ray Tune; without workers, one after the other."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nasi_ray.config import ComputeSettings
from nasi_ray.data.fitted import FittedImages
from nasi_ray.data.options import ReadOptions
from nasi_ray.errors import (
    NasiRayError,
    NoCapacityError,
    RecordCorruptError,
    SearchStoppedError,
    StorageError,
)
from nasi_ray.pool import nodes
from nasi_ray.pool.tune import TrialResources, run_trials
from nasi_ray.progress import Progress, ProgressState, Silent
from nasi_ray.run.compute import ImagesKey, Session
from nasi_ray.run.extensions import added, make_with_added
from nasi_ray.run.identity import source_name
from nasi_ray.search.job import (
    answer,
    note_options_without_effect,
    plan_search,
    run_search,
)
from nasi_ray.search.result import SearchResult
from nasi_ray.search.settings import SearchJob
from nasi_ray.storage import open_storage

_MAX_DEATHS = 10
"""Deaths of a trial's worker after which its search is given up."""

OnResult = Callable[[int, SearchResult], None]
_Images = Mapping[ImagesKey, FittedImages | None]


@dataclass(kw_only=True, slots=True)
class Searched:
    """What became of many searches."""

    results: dict[int, SearchResult] = field(default_factory=dict)
    """Position of a job -> its result."""
    failures: dict[int, NasiRayError] = field(default_factory=dict)
    """Position of a job -> why it failed."""


def search_many(
    jobs: Sequence[SearchJob],
    progress: Progress,
    *,
    session: Session,
    compute: ComputeSettings,
    workers_per_search: int = 1,
    on_result: OnResult | None = None,
) -> Searched:
    """Run searches, continue them, or answer them from their records.

    Searches into one run directory (whose estimates differ) run one after the other, so that the
    later ones find the records of the earlier ones.

    Args:
        jobs: Settings; each with a run directory, and their ``compute`` has no effect.
        progress: Display; not closed here.
        session: The connection to Ray, if there are workers.
        compute: Workers of all searches together; 0: this process evaluates.
        workers_per_search: Workers of each search (≥ 1).
        on_result: Called with the position and result of each search that is done, in this process.

    Returns:
        The results. A search that fails does not stop the others.

    Raises:
        SearchStoppedError: On Ctrl-C and SIGTERM; what was computed is stored.
        NoCapacityError: If the cluster can never hold a search.
        NasiRayError: For failures that concern all searches, such as missing images.
    """
    shown = [dataclasses.replace(job, compute=compute) for job in jobs]
    note_options_without_effect(shown, progress)
    done: dict[int, SearchResult] = {}
    for position, job in enumerate(jobs):
        # What is damaged fails in its own search, and does not stop the others.
        with contextlib.suppress(RecordCorruptError):
            if (result := answer(job)) is not None:
                done[position] = result
    groups: dict[str, list[int]] = {}
    for position, job in enumerate(jobs):
        if position not in done:
            groups.setdefault(job.run_uri, []).append(position)
    ends = _Ends(jobs, list(groups.values()), progress, on_result)
    for position, result in done.items():
        ends.take(position, result)
    if done and groups:
        progress.message(f"{len(done)} of {len(jobs)} searches are done already")
    try:
        if compute.num_workers == 0 or len(groups) == 1:
            _run_here(ends, session, compute)
        elif groups:
            _run_trials(ends, session, compute, workers_per_search)
    except (KeyboardInterrupt, SearchStoppedError) as stop:
        how = str(stop) or "stopped; run the same command again to continue"
        raise SearchStoppedError(
            f"{len(ends.found.results)} of {len(jobs)} searches are done; {how}"
        ) from None
    return ends.found


class _Ends:
    """What has ended, and what is said of it."""

    def __init__(
        self,
        jobs: Sequence[SearchJob],
        groups: Sequence[Sequence[int]],
        progress: Progress,
        on_result: OnResult | None,
    ) -> None:
        self.jobs, self.groups, self.progress = jobs, groups, progress
        self.found = Searched()
        self._on_result = on_result
        self._begin = time.monotonic()
        self._num_before = len(jobs) - sum(map(len, groups))

    def take(self, position: int, result: SearchResult) -> None:
        """A search is done."""
        self.found.results[position] = result
        if self._on_result is not None:
            self._on_result(position, result)

    def end(self, number: int, failure: NasiRayError | None) -> None:
        """The searches of a group have ended."""
        for position in self.groups[number]:
            try:
                result = answer(self.jobs[position], may_lack=True)
            except NasiRayError as error:
                self.fail(position, error)
                continue
            if result is None:
                self.fail(position, failure or NasiRayError("its records are missing"))
            else:
                self.take(position, result)
        self.show()

    def fail(self, position: int, error: NasiRayError) -> None:
        """A search has failed."""
        self.found.failures[position] = error
        self.progress.message(f"{self.jobs[position].run_uri} failed: {error}")

    def show(self) -> None:
        """Show how many are done."""
        num_done, num_failed = len(self.found.results), len(self.found.failures)
        num_new, seconds = num_done - self._num_before, time.monotonic() - self._begin
        self.progress.update(
            ProgressState(
                num_done=num_done,
                num_total=len(self.jobs),
                num_failed=num_failed,
                unit="searches",
                title="",
                per_second=num_new / seconds if num_new else None,
                eta_s=(len(self.jobs) - num_done) / num_new * seconds if num_new else None,
            )
        )


def _run_here(ends: _Ends, session: Session, compute: ComputeSettings) -> None:
    for position in itertools.chain(*ends.groups):
        job = dataclasses.replace(ends.jobs[position], compute=compute)
        title = f"search {job.samples.space}, seed {job.samples.seed}: {job.run_uri}"
        try:
            result = run_search(job, session.progress, session=session, title=title)
        except SearchStoppedError:
            raise
        except NasiRayError as error:
            if error.is_retryable or isinstance(error, StorageError):
                raise  # the others would meet it, too
            ends.fail(position, error)
        else:
            ends.take(position, result)


def _run_trials(
    ends: _Ends, session: Session, compute: ComputeSettings, workers_per_search: int
) -> None:
    images = _load(ends, session)
    session.connect(compute)
    ends.progress = session.progress
    plan = nodes.plan_for(dataclasses.replace(compute, num_workers=workers_per_search))
    _refuse_too_large(plan)
    at_once = None
    if compute.num_workers != "auto":
        at_once = max(1, compute.num_workers // workers_per_search)
    resources = TrialResources(
        cpus=plan.cpus_per_worker,
        gpus=plan.gpus_per_worker,
        num_workers=workers_per_search if workers_per_search > 1 else 0,
        labels=plan.labels,
        at_once=at_once,
        max_failures=_MAX_DEATHS,
    )
    one = dataclasses.replace(compute, num_workers=resources.num_workers, price_list=None)
    shared = [dataclasses.replace(_absolute(job), compute=one) for job in ends.jobs]
    ends.show()
    args = (added(), shared, ends.groups, images)
    positions = range(len(ends.groups))
    meter = session.meter if compute.price_list else None
    run_trials(_search_group, args, positions, resources, ends.end, meter=meter)


def _search_group(
    number: int,
    extensions: Mapping[str, Mapping[str, Any]],
    jobs: Sequence[SearchJob],
    groups: Sequence[Sequence[int]],
    images: _Images,
) -> None:
    def search() -> None:
        for position in groups[number]:
            with Session(Silent(), images=images) as session:
                run_search(jobs[position], Silent(), session=session)

    make_with_added(extensions, search)


def _load(ends: _Ends, session: Session) -> _Images:
    """The images of the searches that are missing, each set read once."""
    found: dict[ImagesKey, FittedImages | None] = {}
    for positions in ends.groups:
        samples = _absolute(ends.jobs[positions[0]]).samples
        key = (samples.data, ReadOptions.of(samples), samples.image_size)
        if key not in found:
            found[key] = session.load(plan_search(ends.jobs[positions[0]]), samples.image_size)
    return found


def _absolute(job: SearchJob) -> SearchJob:
    """The same search for a process in another folder, as trials are."""
    samples = dataclasses.replace(job.samples, data=source_name(job.samples.data))
    return dataclasses.replace(job, samples=samples, out=open_storage(job.run_uri).uri)


def _refuse_too_large(plan: nodes.WorkerPlan) -> None:
    """Refuse searches that a cluster which does not grow can never hold."""
    if nodes.has_autoscaler():
        return
    if (held := nodes.num_workers_that_fit(plan)) < plan.num_workers:
        raise NoCapacityError(
            f"a search has {plan.num_workers} workers of {plan.request}, and the cluster holds "
            f"{held} at once ({nodes.describe_nodes(plan.labels)}); lower --workers-per-search, "
            "or add a node"
        )
