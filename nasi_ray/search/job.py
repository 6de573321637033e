"""The search job: from settings to the records, result and pictures of a run directory."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from nasi_ray.config import EstimateConfig
from nasi_ray.data.batches import make_batches
from nasi_ray.data.fitted import data_identity
from nasi_ray.nasi.confidence import checkpoints, stands_at, stopping_point
from nasi_ray.nasi.estimates import refuse_impossible
from nasi_ray.nasi.estimator import num_samples_needed
from nasi_ray.progress import Progress
from nasi_ray.records import IdentityValue, RecordStore, read_identity
from nasi_ray.records.rows import SearchRecords
from nasi_ray.run.compute import Session
from nasi_ray.run.finish import ANSWERS, answer_name, to_json, write_results
from nasi_ray.run.identity import MEASURED_SINCE, SAMPLING_VERSION, SOURCE_NAME, sample_settings
from nasi_ray.run.plan import RunPlan, plan_run
from nasi_ray.run.settings import refuse_other_job, settings_yaml
from nasi_ray.run.tracking import Tracking
from nasi_ray.runner import SeriesRunner
from nasi_ray.search.cell_plot import cell_files
from nasi_ray.search.collect import collect
from nasi_ray.search.figures import send_search
from nasi_ray.search.front_plot import front_files
from nasi_ray.search.names import SAMPLES, series_of
from nasi_ray.search.result import SearchResult, estimate_settings, make_result
from nasi_ray.search.series import (
    lost_record,
    make_series_evaluator,
    rows_of,
    same_record,
)
from nasi_ray.search.settings import SearchJob, options_without_effect
from nasi_ray.spaces import get_space
from nasi_ray.spaces.base import SearchSpace

Stores = Mapping[str, RecordStore[Any, Any]]
"""Series -> its records."""


def run_search(
    job: SearchJob, progress: Progress, *, session: Session | None = None, title: str = ""
) -> SearchResult:
    """Run a search, continue it, or answer it from its records.

    Args:
        job: Settings.
        progress: Display; not closed here.
        session: Shared by a job that runs several searches, and says itself which options have no
            effect; None: one for this search alone.
        title: Shown before samples are evaluated, and not where the records answer.

    Returns:
        The result. ``result.json`` (``docs/result.md``), ``settings.yaml`` and the answer are
        written, and the cell's picture ``cell.svg`` and ``cell.png``; for a DARTS cell also
        ``genotype.json`` and ``genotype.txt``.

    Raises:
        NasiRayError: For every failure that a user can cause; what was computed is stored.
    """
    start = time.perf_counter()
    space = get_space(job.samples.space)
    refuse_impossible(space, job.estimate, sample_per=job.samples.sample_per)
    plan = plan_search(job)
    if session is None:
        note_options_without_effect([job], progress)
    with contextlib.ExitStack() as stack:
        tracking = stack.enter_context(Tracking(job.tracking, progress))
        session = session or stack.enter_context(Session(progress))
        refuse_other_job(plan.storage, "search")
        stack.enter_context(plan.storage.lock())
        stores = _complete_records(job, plan, space)
        if stores is None:
            if title:
                progress.message(title)
            stores = _evaluate(job, plan, space, session)
        cost = {"cost": session.meter.summary(plan.prices)} if plan.prices else {}
        run = {"seconds": time.perf_counter() - start, **cost}
        result = _conclude(job, plan, space, stores, run)
        send_search(tracking, job, result)
        return result


def note_options_without_effect(jobs: Sequence[SearchJob], progress: Progress) -> None:
    """Show each option that was given and has no effect, once."""
    for line in dict.fromkeys(line for job in jobs for line in options_without_effect(job)):
        progress.message(f"note: {line}")


def answer(job: SearchJob, *, may_lack: bool = False) -> SearchResult | None:
    """The result of a search that is done, from its records; nothing is written.

    Args:
        job: Settings.
        may_lack: Whether samples that no attempt completed may be missing.

    Returns:
        None if the search is not done.

    Raises:
        NasiRayError: As ``run_search``.
    """
    space, plan = get_space(job.samples.space), plan_search(job)
    identity = plan.stored_identity()
    if identity is None:
        plan.refuse_other_settings(rows_of(SAMPLES, space.num_logits))
        return None
    if _answer_name(job) not in plan.storage.list(ANSWERS):
        return None
    stores = _open(job, plan, space, identity)
    config = _final(job, _read(stores), space)
    if not may_lack and any(_missing(config, stores).values()):
        return None
    return _result(job, plan, space, stores, {})


def plan_search(job: SearchJob) -> RunPlan:
    """Resolve the settings of a search; see ``run.plan``."""
    space = get_space(job.samples.space)
    settings: dict[str, IdentityValue] = sample_settings(job.samples)
    settings["num_cells"] = space.resolve_num_cells(job.samples.num_cells)
    settings["sampling_version"] = SAMPLING_VERSION
    return plan_run(job.run_uri, samples=job.samples, compute=job.compute, settings=settings)


def _missing(config: EstimateConfig, stores: Stores) -> dict[str, list[int]]:
    """Series -> indices of its records that are to be evaluated."""
    wanted = range(num_samples_needed(config))
    return {series: store.missing(wanted) for series, store in stores.items()}


def _complete_records(job: SearchJob, plan: RunPlan, space: SearchSpace) -> Stores | None:
    """The run's records if they hold all samples, without reading any image; else None."""
    identity = plan.stored_identity()
    if identity is None:
        plan.refuse_other_settings(rows_of(SAMPLES, space.num_logits))
        return None
    stores = _open(job, plan, space, identity)
    for store in stores.values():
        store.compact_many()
    for config in _stages(job):
        if any(_missing(config, stores).values()):
            return None
        if _may_stop(job, config, stores, space):
            break
    return stores


def _stages(job: SearchJob) -> list[EstimateConfig]:
    """The estimates of more and more samples after which the search may end."""
    last = job.estimate.num_samples
    counts = (last,) if job.stop_when_stable is None else checkpoints(last)
    return [dataclasses.replace(job.estimate, num_samples=count) for count in counts]


def _may_stop(job: SearchJob, config: EstimateConfig, stores: Stores, space: SearchSpace) -> bool:
    """Whether the search ends with the samples of this stage."""
    if job.stop_when_stable is None or config.num_samples == job.estimate.num_samples:
        return True
    stop = job.stop_when_stable
    return stands_at(_read(stores), space, config, _of_samples(job), probability=stop)


def _read(stores: Stores) -> SearchRecords:
    tables = {series: store.read() for series, store in stores.items()}
    return SearchRecords(samples=tables.pop(SAMPLES, None), measurements=tables)


def _evaluate(job: SearchJob, plan: RunPlan, space: SearchSpace, session: Session) -> Stores:
    images = session.load(plan, job.samples.image_size)
    batches = make_batches(job.samples, images)  # reports wrong settings before a worker is started
    data: dict[str, IdentityValue] = {**data_identity(images)}
    if images is not None:
        data["num_classes"] = batches.num_classes
    plan.refuse_other_settings(rows_of(SAMPLES, space.num_logits), data)
    device = session.device(plan)
    stores = _open(job, plan, space, plan.fresh_identity(data, device, torch.__version__))
    plan.storage.write(SOURCE_NAME, to_json(dataclasses.asdict(plan.source)))
    plan.storage.write("settings.yaml", _settings(job, plan, device))
    stages = _stages(job)
    missing = _missing(stages[-1], stores)
    if not any(missing.values()):
        return stores
    samples = dataclasses.replace(job.samples, device=plan.device)
    names = tuple(stores)
    with session.runner(
        plan,
        make_series_evaluator,
        (samples, images, names, device, plan.compute.threads_per_worker),
        on_failed=partial(lost_record, space.name, names),
        is_equal=same_record,
        label="sample",
        begin_here=True,
        oldest_version=SAMPLING_VERSION if missing.get(SAMPLES) else MEASURED_SINCE,
    ) as runner:
        for config in stages:
            _evaluate_stage(config, stores, runner, session, space)
            if _may_stop(job, config, stores, space):
                break
    return stores


def _evaluate_stage(
    config: EstimateConfig, stores: Stores, runner: Any, session: Session, space: SearchSpace
) -> None:
    for position, (series, indices) in enumerate(_missing(config, stores).items()):
        if indices:
            collect(
                indices,
                series=series,
                runner=SeriesRunner(runner, position),
                store=stores[series],
                progress=session.progress,
                space=space,
                config=config,
            )


def _open(
    job: SearchJob, plan: RunPlan, space: SearchSpace, identity: Mapping[str, IdentityValue]
) -> Stores:
    return {
        series: RecordStore.open(
            plan.storage, identity=identity, rows=rows_of(series, space.num_logits)
        )
        for series in series_of(job.estimate, job.measure)
    }


def _settings(job: SearchJob, plan: RunPlan, device: str) -> bytes:
    resolved = {
        "out": plan.storage.uri,
        "data": plan.source.source,
        "labels": plan.settings["labels"],
        "num_cells": plan.settings["num_cells"],
        "device": device,
    }
    return settings_yaml(job, "search", **resolved)


def _conclude(
    job: SearchJob, plan: RunPlan, space: SearchSpace, stores: Stores, run: Mapping[str, Any]
) -> SearchResult:
    for store in stores.values():
        store.compact_many()
    result = _result(job, plan, space, stores, run)
    device = str(result.content["samples"].get("device", job.samples.device))
    files = {
        "result.json": to_json(result.content),
        "settings.yaml": _settings(job, plan, device),
        _answer_name(job): to_json({**_asked(job), **result.content}),
        **cell_files(result.content, result.architecture),
        **front_files(result.content),
    }
    write_results(plan.storage, files, label="samples", result=result)
    return result


def _result(
    job: SearchJob, plan: RunPlan, space: SearchSpace, stores: Stores, run: Mapping[str, Any]
) -> SearchResult:
    records = _read(stores)
    config = _final(job, records, space)
    if job.stop_when_stable is not None:
        most = job.estimate.num_samples
        run = {"stop_when_stable": job.stop_when_stable, "max_num_samples": most, **run}
    lost = sorted({index for indices in _missing(config, stores).values() for index in indices})
    return make_result(
        records,
        space=space,
        config=config,
        uri=plan.storage.uri,
        identity=(read_identity(plan.storage) or ({}, {}))[0],
        lost=lost,
        run=run,
    )


def _final(job: SearchJob, records: SearchRecords, space: SearchSpace) -> EstimateConfig:
    """The settings of the estimate with the number of samples with which the search ends."""
    if job.stop_when_stable is None:
        return job.estimate
    num_samples = stopping_point(
        records, space, job.estimate, _of_samples(job), probability=job.stop_when_stable
    )
    return dataclasses.replace(job.estimate, num_samples=num_samples)


def _of_samples(job: SearchJob) -> dict[str, Any]:
    """What an estimate reads of the settings of the samples."""
    return {"seed": job.samples.seed, "temperature": job.samples.temperature}


def _asked(job: SearchJob) -> dict[str, Any]:
    stop = job.stop_when_stable
    asked = {"estimate": estimate_settings(job.estimate)}
    return asked if stop is None else {**asked, "stop_when_stable": stop}


def _answer_name(job: SearchJob) -> str:
    return answer_name(_asked(job))
