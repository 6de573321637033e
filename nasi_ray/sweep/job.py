"""The sweep job: searches of all seeds and settings, their cells, and the cell they agree on."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from nasi_ray.display.formats import plural
from nasi_ray.errors import NoGoodSamplesError
from nasi_ray.nasi.consensus import Consensus, consensus_of
from nasi_ray.pool.cost import load_prices
from nasi_ray.progress import Progress
from nasi_ray.run.compute import Session
from nasi_ray.run.finish import answer_name, to_json, write_results
from nasi_ray.run.plan import settle_uri
from nasi_ray.run.provenance import versions
from nasi_ray.run.schemas import SWEEP_SCHEMA
from nasi_ray.run.settings import flat_settings, refuse_other_job, settings_yaml
from nasi_ray.run.tracking import Tracking
from nasi_ray.search.cell_plot import cell_files
from nasi_ray.search.many import Searched, search_many
from nasi_ray.search.result import SearchResult, describe_alpha
from nasi_ray.spaces import get_space
from nasi_ray.storage import open_storage
from nasi_ray.sweep.figures import SweepFigures
from nasi_ray.sweep.result import SweepResult
from nasi_ray.sweep.settings import Combination, SweepJob, combinations, plain_compute, seeds_of


def run_sweep(job: SweepJob, progress: Progress) -> SweepResult:
    """Run a sweep, continue it, or answer it from its records.

    Args:
        job: Settings.
        progress: Display; not closed here.

    Returns:
        Every cell, and what the seeds agree on. ``sweep.json``, ``settings.yaml`` and the files of
        each consensus are written; each search has a run directory of its own below ``runs/``.

    Raises:
        SearchStoppedError: On Ctrl-C and SIGTERM; what was computed is stored.
        NoGoodSamplesError: If every search failed; the first reason is named.
        NasiRayError: For failures that concern all searches. One that fails does not stop others.
    """
    start = time.perf_counter()
    prices = load_prices(job.compute.price_list) if job.compute.price_list else None
    storage = open_storage(settle_uri(job.run_uri))
    uri = storage.uri  # absolute, for trials that run in other folders and for what is printed
    job = dataclasses.replace(job, out=uri)
    points = combinations(job)
    refuse_other_job(storage, "sweep")
    storage.write("settings.yaml", settings_yaml(job, "sweep"))
    with Tracking(job.tracking, progress) as tracking, Session(progress) as session:
        found = search_many(
            [one for point in points for one in point.jobs],
            progress,
            session=session,
            compute=plain_compute(job),
            workers_per_search=job.compute.workers_per_search,
            on_result=SweepFigures(storage, points, tracking, progress),
        )
    cost = {"cost": session.meter.summary(prices)} if prices else {}
    run = {"seconds": time.perf_counter() - start, **cost}
    result = _result(job, points, found, uri, run)
    files = _files(job, result)
    result = dataclasses.replace(result, files=("settings.yaml", *files))
    write_results(storage, files, label="samples", result=result)
    if not any(result.consensus):
        first = next(iter(found.failures.values()))
        raise NoGoodSamplesError(f"every search failed, the first one with: {first}") from first
    return result


def _result(
    job: SweepJob,
    points: Sequence[Combination],
    found: Searched,
    uri: str,
    run: Mapping[str, Any],
) -> SweepResult:
    seeds, described, searches, agreed = seeds_of(job), [], [], []
    for number, point in enumerate(points):
        positions = range(number * len(seeds), (number + 1) * len(seeds))
        results = [found.results.get(position) for position in positions]
        good = [result for result in results if result is not None]
        consensus = _consensus(good, point) if good else None
        searches.append(results)
        agreed.append(None if consensus is None else consensus.architecture)
        described.append(
            {
                "set": dict(point.changed),
                "searches": [_describe(result) for result in good],
                "consensus": None if consensus is None else _describe_consensus(consensus, good),
            }
        )
    content = {
        "schema": SWEEP_SCHEMA,
        "space": job.samples.space,
        "seeds": list(seeds),
        "combinations": described,
        "failures": {
            one.run_uri: str(found.failures[position])
            for position, one in enumerate(one for point in points for one in point.jobs)
            if position in found.failures
        },
        "versions": versions(),
        **run,
    }
    return SweepResult(content=content, uri=uri, searches=searches, consensus=agreed, files=())


def _consensus(good: Sequence[SearchResult], point: Combination) -> Consensus:
    space, config = get_space(good[0].space), point.jobs[0].estimate
    return consensus_of([result.estimate for result in good], space, config)


def _describe(result: SearchResult) -> dict[str, Any]:
    content = result.content
    names = ("num_samples", "num_failed", "num_params", "multiply_adds", "sample_seconds", "lost")
    return {
        "seed": content["seed"],
        "run": result.uri,
        **result.architecture.fields(),
        **{name: content[name] for name in names if name in content},
        "kept_probabilities": content["kept_probabilities"],
    }


def _describe_consensus(found: Consensus, good: Sequence[SearchResult]) -> dict[str, Any]:
    """As in ``result.json``; margins and probabilities are over seeds."""
    space, first = get_space(good[0].space), good[0].content
    names = ("objective", "estimator", "method", "samples")
    return {
        "space": space.name,
        **{name: first[name] for name in names if name in first},
        "num_searches": found.num_runs,
        "num_selected": sum(one.architecture == found.architecture for one in good),
        **found.architecture.fields(),
        "votes": dict(found.votes),
        "agreement": {n: a for n, a in found.agreement.items() if a == a},
        **describe_alpha(found.estimate, space),
    }


def _files(job: SweepJob, result: SweepResult) -> dict[str, bytes]:
    """A sweep's files; those of a consensus are in a folder of its own if there are several."""
    asked = {**flat_settings(job.samples), **flat_settings(job.estimate), "set": list(job.set)}
    if job.stop_when_stable is not None:
        asked["stop_when_stable"] = job.stop_when_stable
    name = answer_name({**asked, "seeds": result.content["seeds"]})
    files = {
        "sweep.json": to_json(result.content),
        name: to_json({"settings": asked, **result.content}),
    }
    several = len(result.consensus) > 1
    for number, cell in enumerate(result.consensus, start=1):
        if cell is not None:
            point = result.content["combinations"][number - 1]
            folder = f"consensus/{number}/" if several else ""
            drawn = cell_files(point["consensus"], cell, title=_title(point))
            files |= {f"{folder}{name}": data for name, data in drawn.items()}
    return files


def _title(point: Mapping[str, Any]) -> str:
    consensus = point["consensus"]
    changed = "".join(f", {name}={value}" for name, value in point["set"].items())
    seeds = plural(consensus["num_searches"], "seed")
    return f"consensus of {seeds} on {consensus['space']}{changed}; dashed: not certain over seeds"
