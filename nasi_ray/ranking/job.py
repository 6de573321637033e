"""The ranking job: from settings to scores of architectures, and how well they rank."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.data.batches import make_batches
from nasi_ray.data.fitted import data_identity
from nasi_ray.errors import NasiRayError, SearchStoppedError
from nasi_ray.progress import Progress
from nasi_ray.ranking.architectures import Selection, select_architectures, table_keys
from nasi_ray.ranking.result import (
    RankingResult,
    ScoreStore,
    conclude,
)
from nasi_ray.ranking.scores import record_indices
from nasi_ray.ranking.scoring import lost_score, make_score_evaluator, same_score
from nasi_ray.ranking.settings import RankConfig, RankJob, options_without_effect
from nasi_ray.ranking.summary import BootstrapConfig
from nasi_ray.records import IdentityValue, RecordStore, ScoreRows
from nasi_ray.records.rows import ProxyScore
from nasi_ray.run.collect import collect_rows
from nasi_ray.run.compute import Session, explain_out_of_memory
from nasi_ray.run.finish import to_json
from nasi_ray.run.identity import SOURCE_NAME, sample_settings
from nasi_ray.run.listed import read_list, store_list
from nasi_ray.run.plan import RunPlan, plan_run
from nasi_ray.run.settings import refuse_other_job, settings_yaml
from nasi_ray.run.tracker import CountProgress
from nasi_ray.runner import Runner, SeriesRunner
from nasi_ray.spaces import get_space, get_tabular_space
from nasi_ray.spaces.darts import DartsSpace
from nasi_ray.spaces.listed import ListedSpace
from nasi_ray.tables.accuracies import Accuracies, open_accuracies

SCORING_VERSION = 1
"""Increased when the same settings give different scores than before."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Wanted:
    """The scores asked for, with all names resolved."""

    proxies: tuple[str, ...]
    selection: Selection
    seeds: tuple[int, ...]
    accuracies: Accuracies | None
    error_percent: FloatArray | None
    """Test errors, shape (architectures,)."""
    total: int
    """Architectures of the space."""

    @property
    def positions(self) -> IntArray:
        """Of the architectures in the space's enumeration."""
        return self.selection.positions

    def indices(self, proxy: str) -> list[int]:
        """Indices of a proxy's records."""
        wanted: list[int] = record_indices(proxy, self.total, self.positions, self.seeds).tolist()
        return wanted


def run_rank(job: RankJob, progress: Progress) -> RankingResult:
    """Run a ranking, continue it, or answer it from its records.

    Args:
        job: Settings.
        progress: Display; not closed here.

    Returns:
        The result. ``ranking.json`` (``docs/ranking.md``), ``ranking.md``, ``scores.csv``,
        ``settings.yaml``, the answer and, with accuracies, the pictures are written.

    Raises:
        NasiRayError: For every failure that a user can cause; what was computed is stored.
    """
    start = time.perf_counter()
    asked, job = job, _with_list(job)
    wanted = _resolve(job)
    plan = plan_rank(job)
    for line in options_without_effect(job):
        progress.message(f"note: {line}")
    refuse_other_job(plan.storage, "rank")
    with Session(progress) as session, plan.storage.lock():
        stores = _complete_records(plan, wanted)
        if stores is None:
            stores = _evaluate(job, plan, wanted, session, asked)

        def run() -> dict[str, Any]:
            cost = {"cost": session.meter.summary(plan.prices)} if plan.prices else {}
            return {"seconds": time.perf_counter() - start, **cost}

        return conclude(
            plan.storage,
            stores,
            space=job.scores.space,
            selection=wanted.selection,
            seeds=wanted.seeds,
            asked=job.architectures,
            accuracies=wanted.accuracies,
            error_percent=wanted.error_percent,
            bootstrap=BootstrapConfig(num_bootstrap=job.num_bootstrap, seed=0),
            run=run,
        )


def _with_list(job: RankJob) -> RankJob:
    """The job with the list of DARTS cells that it names as its space."""
    if not isinstance(get_space(job.scores.space), DartsSpace):
        return job
    scores = dataclasses.replace(job.scores, space=read_list(job.architectures).name)
    return dataclasses.replace(job, scores=scores, architectures="all")


def _resolve(job: RankJob) -> _Wanted:
    space = job.scores.space
    selection = select_architectures(space, job.architectures, subset_seed=job.subset_seed)
    accuracies = None if job.table is None else open_accuracies(space, job.table, job.metric)
    return _Wanted(
        proxies=job.proxy_names,
        selection=selection,
        seeds=tuple(dict.fromkeys(job.seeds)),
        accuracies=accuracies,
        error_percent=None if accuracies is None else _errors(accuracies, selection.positions),
        total=get_tabular_space(space).num_architectures,
    )


def _errors(accuracies: Accuracies, positions: IntArray) -> FloatArray:
    keys = table_keys(accuracies.space.name)
    wanted = [keys[p] for p in positions] if isinstance(keys, list) else keys[positions]
    return accuracies.errors_percent(wanted)


def plan_rank(job: RankJob) -> RunPlan:
    """Resolve the settings of a ranking; see ``run.plan``."""
    scores = job.scores
    settings: dict[str, IdentityValue] = sample_settings(scores)
    if not scores.is_limited:
        settings["num_channels"] = scores.resolved_channels
    settings["num_cells"] = scores.resolved_cells
    if scores.resolved_cells is None:
        del settings["num_cells"]
    settings["scoring_version"] = SCORING_VERSION
    return plan_run(
        job.run_uri, samples=scores.sample_config(0), compute=job.compute, settings=settings
    )


def _open(
    plan: RunPlan, wanted: _Wanted, identity: Mapping[str, IdentityValue]
) -> dict[str, ScoreStore]:
    return {
        proxy: RecordStore.open(plan.storage, identity=identity, rows=ScoreRows(proxy))
        for proxy in wanted.proxies
    }


def _complete_records(plan: RunPlan, wanted: _Wanted) -> dict[str, ScoreStore] | None:
    """The run's records if they hold all scores, without reading any image; else None."""
    identity = plan.stored_identity()
    if identity is None:
        plan.refuse_other_settings(ScoreRows(wanted.proxies[0]))
        return None
    stores = _open(plan, wanted, identity)
    for store in stores.values():
        store.compact_many()
    is_complete = not any(store.missing(wanted.indices(p)) for p, store in stores.items())
    return stores if is_complete else None


def _evaluate(
    job: RankJob, plan: RunPlan, wanted: _Wanted, session: Session, asked: RankJob
) -> dict[str, ScoreStore]:
    images = session.load(plan, job.scores.image_size)
    batches = make_batches(job.scores.sample_config(0), images)  # reports wrong settings
    data: dict[str, IdentityValue] = {**data_identity(images)}
    if images is not None:
        data["num_classes"] = batches.num_classes
    plan.refuse_other_settings(ScoreRows(wanted.proxies[0]), data)
    device = session.device(plan)
    stores = _open(plan, wanted, plan.fresh_identity(data, device, torch.__version__))
    plan.storage.write(SOURCE_NAME, to_json(dataclasses.asdict(plan.source)))
    resolved = {"out": plan.storage.uri, "data": plan.source.source, "device": device}
    space = get_tabular_space(job.scores.space)
    if isinstance(space, ListedSpace):
        store_list(plan.storage, space)
        resolved["architectures"] = os.path.abspath(os.path.expanduser(asked.architectures))
    plan.storage.write("settings.yaml", settings_yaml(asked, "rank", **resolved))
    scores: RankConfig = dataclasses.replace(job.scores, device=plan.device)
    in_process = plan.compute.num_workers == 0
    with session.runner(
        plan,
        _make_guarded_evaluator if in_process else make_score_evaluator,
        (scores, images, wanted.proxies, device, plan.compute.threads_per_worker),
        on_failed=lost_score,
        is_equal=same_score,
        label="score",
    ) as runner:
        _collect_all(job.scores.space, wanted, stores, runner, session.progress)
    return stores


def _collect_all(
    space: str,
    wanted: _Wanted,
    stores: Mapping[str, ScoreStore],
    runner: Runner[ProxyScore],
    progress: Progress,
) -> None:
    """One proxy after the other, so that one writer is active; each in order of seeds."""
    for position, (proxy, store) in enumerate(stores.items()):
        indices = wanted.indices(proxy)
        missing = store.missing(indices)
        if not missing:
            continue
        tracker = CountProgress(
            store.read().only(indices),
            missing,
            unit="scores",
            title=f"{proxy} ({position + 1} of {len(stores)})",
            name=partial(_name, space, proxy),
            clock=time.monotonic,
        )
        try:
            collect_rows(
                missing,
                runner=SeriesRunner(runner, position),
                store=store,
                progress=progress,
                tracker=tracker,
                may_fail=True,
                named_in="ranking.json counts",
            )
        except SearchStoppedError as stop:
            raise _stopped(wanted, stores, stop) from None


def _stopped(
    wanted: _Wanted, stores: Mapping[str, ScoreStore], stop: SearchStoppedError
) -> SearchStoppedError:
    """Count what is stored of all proxies."""
    try:
        left = sum(len(store.missing(wanted.indices(p))) for p, store in stores.items())
    except NasiRayError:  # a stop stays a stop even if the storage cannot be read
        return stop
    asked = sum(len(wanted.indices(proxy)) for proxy in stores)
    return SearchStoppedError(
        f"stopped with {asked - left} of {asked} scores stored; run the same command again to "
        "continue from there"
    )


def _name(space: str, proxy: str, index: int) -> str:
    tabular = get_tabular_space(space)
    seed, position = divmod(index, tabular.num_architectures)
    return f"{proxy} of {tabular.architecture(position).to_string()} at seed {seed}"


def _make_guarded_evaluator(*args: Any) -> Callable[[int], ProxyScore]:
    """Also in this process, an exception makes a lost score and does not end the run."""
    evaluate = make_score_evaluator(*args)

    def guarded(given: int) -> ProxyScore:
        try:
            with explain_out_of_memory():
                return evaluate(given)
        except NasiRayError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())
            return lost_score(given, f"{type(error).__name__}: {text}")

    return guarded
