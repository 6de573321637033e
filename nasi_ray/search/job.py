"""The search job: settings -> records, result, genotype and pictures in a run directory."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from nasi_ray.config import PRESETS, EstimateConfig, SampleConfig, WorkerConfig
from nasi_ray.data import ImageSet, make_batches, resolve_labels
from nasi_ray.errors import StorageError
from nasi_ray.nasi.estimator import num_samples_needed
from nasi_ray.nasi.evaluator import lost_sample, make_evaluator, same_sample
from nasi_ray.networks.supernets import resolve_num_cells
from nasi_ray.pool.cost import CostMeter, load_prices
from nasi_ray.pool.nodes import WorkerPlan
from nasi_ray.progress import Progress
from nasi_ray.records import IdentityValue, RecordStore, SampleRows, read_identity
from nasi_ray.records.rows import Sample, SampleTable
from nasi_ray.run.compute import connect_device, load, running, settle_device, to_json
from nasi_ray.run.identity import (
    CONFIG_NAME,
    data_source,
    found_out,
    read_source,
    remembered,
    sample_identity,
    sample_settings,
)
from nasi_ray.run.provenance import versions
from nasi_ray.runner import Runner
from nasi_ray.search.cell_plot import save_genotype_plot
from nasi_ray.search.collect import collect
from nasi_ray.search.result import RESULT_SCHEMA, summarise
from nasi_ray.spaces import Genotype, get_space
from nasi_ray.storage import Storage, open_storage

_MAX_PARTS = 100

SampleStore = RecordStore[Sample, SampleTable]


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchJob:
    """Search a cell at initialization, without training."""

    preset: Annotated[str, tyro.conf.arg(metavar="{auto," + ",".join(PRESETS) + "}")] = "auto"
    """Settings that go together; flags override its fields. auto: nasi-fix, the paper's, for darts;
    nasi-ntk, settled on s1 and s2 in docs/study.md, for the other spaces (it fails on nb201)."""
    samples: SampleConfig = field(default_factory=SampleConfig)
    estimate: EstimateConfig = field(default_factory=EstimateConfig)
    workers: WorkerConfig = field(default_factory=WorkerConfig)
    out: str = ""
    """Run directory, a path or s3://bucket/prefix; empty: runs/<named after the settings>."""
    address: str | None = None
    """Address of a Ray cluster; by default RAY_ADDRESS, or a Ray started for this search."""
    price_list: str | None = None
    """JSON file, node type to USD per hour; with it the summary says what the nodes cost."""

    @property
    def run_uri(self) -> str:
        """``out``, or the default that the sample settings determine."""
        if self.out:
            return self.out
        settings = sample_settings(self.samples)
        settings["data"] = data_source(self.samples.data)["source"]
        settings["threads_per_worker"] = self.workers.threads_per_worker
        text = json.dumps(settings, sort_keys=True)
        digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]
        return f"runs/{self.samples.space}-seed{self.samples.seed}-{digest}"


def run_search(job: SearchJob, progress: Progress) -> dict[str, Any]:
    """Run or continue a search, or answer it from its records.

    Args:
        job: Settings.
        progress: Display; not closed here.

    Returns:
        The content of ``result.json`` (``docs/result.md``), which is also written, as are
        ``genotype.json``, ``genotype.txt``, ``cell.svg`` and ``cell.png``.

    Raises:
        NasiRayError: Whatever a user can cause; what was computed is stored.
    """
    start = time.perf_counter()
    get_space(job.samples.space)
    resolve_labels(job.samples.labels, job.samples.data)
    resolve_num_cells(job.samples.space, job.samples.num_cells)
    prices = load_prices(job.price_list) if job.price_list else None
    meter = CostMeter()
    storage = open_storage(job.run_uri)
    with storage.lock():
        store = _complete_records(job, storage)
        if store is None:
            store = _evaluate(job, storage, progress, meter)
        cost = {"cost": meter.summary(prices)} if prices else {}
        return _conclude(job, storage, store, {"seconds": time.perf_counter() - start, **cost})


def is_answered(job: SearchJob) -> bool:
    """Whether the run's records hold every sample asked for, so that none will be evaluated."""
    return _complete_records(job, open_storage(job.run_uri)) is not None


def _complete_records(job: SearchJob, storage: Storage) -> SampleStore | None:
    """The run's records if they hold all samples asked for, without looking at any image.

    The data are taken to be those of the records when no file of theirs has changed since.
    """
    stored = read_identity(storage)
    if stored is None or read_source(storage) != data_source(job.samples.data):
        return None
    asked = sample_identity(job.samples, job.workers, remembered(job.samples, stored[0]))
    store = _open(job, storage, asked)
    return None if store.missing(range(num_samples_needed(job.estimate))) else store


def _evaluate(
    job: SearchJob, storage: Storage, progress: Progress, meter: CostMeter
) -> SampleStore:
    source = data_source(job.samples.data)
    images = load(job.samples.data, job.samples.image_size, progress)
    make_batches(job.samples, images)  # whatever is wrong with the settings shows here
    job = _with_device(job, storage)
    with contextlib.ExitStack() as stack:
        device, plan = connect_device(job, job.samples.device, stack, progress)
        identity = sample_identity(job.samples, job.workers, found_out(images, device))
        store = _open(job, storage, identity)
        storage.write(CONFIG_NAME, to_json(source))
        missing = store.missing(range(num_samples_needed(job.estimate)))
        if missing:
            runner = stack.enter_context(_runner(job, images, device, plan, progress, meter))
            collect(
                missing,
                runner=runner,
                store=store,
                progress=progress,
                space=get_space(job.samples.space),
                config=job.estimate,
            )
    return store


def _open(job: SearchJob, storage: Storage, identity: Mapping[str, IdentityValue]) -> SampleStore:
    rows = SampleRows(get_space(job.samples.space).num_logits)
    return RecordStore.open(storage, identity=identity, rows=rows)


def _with_device(job: SearchJob, storage: Storage) -> SearchJob:
    device, workers = settle_device(job.samples.device, job.workers, storage)
    return dataclasses.replace(
        job, samples=dataclasses.replace(job.samples, device=device), workers=workers
    )


def _runner(
    job: SearchJob,
    images: ImageSet | None,
    device: str,
    plan: WorkerPlan | None,
    progress: Progress,
    meter: CostMeter,
) -> AbstractContextManager[Runner[Sample]]:
    return running(
        job,
        make_evaluator,
        (job.samples, images, device, job.workers.threads_per_worker),
        plan=plan,
        on_failed=lambda index, reason: lost_sample(job.samples.space, index, reason),
        is_equal=same_sample,
        noun="sample",
        progress=progress,
        meter=meter,
    )


def _conclude(
    job: SearchJob, storage: Storage, store: SampleStore, run: Mapping[str, Any]
) -> dict[str, Any]:
    space = get_space(job.samples.space)
    if store.num_parts > _MAX_PARTS:
        store.compact()
    result = {
        "schema": RESULT_SCHEMA,
        "space": job.samples.space,
        "seed": job.samples.seed,
        "nu_asked": job.estimate.nu,
        **summarise(store.read(), space=space, config=job.estimate),
        "lost": store.missing(range(num_samples_needed(job.estimate))),
        "samples": (read_identity(storage) or ({}, {}))[0],
        "versions": versions(),
        **run,
    }
    pictures = _pictures(result) if "genotype" in result else {}
    try:
        for name, data in {"result.json": to_json(result), **pictures}.items():
            storage.write(name, data)
    except StorageError as error:
        raise type(error)(
            f"{error}; the samples are stored, and the same command answers from them"
        ) from error
    return result


def _pictures(result: Mapping[str, Any]) -> dict[str, bytes]:
    """The cell's files: name -> content."""
    genotype = Genotype.from_dict(result["genotype"])
    title = f"NASI-{result['method'].upper()}, seed {result['seed']}, T={result['num_samples']}"
    drawn = save_genotype_plot(genotype, margins=result["margins"], title=title)
    return {
        "genotype.json": genotype.to_json().encode(),
        "genotype.txt": genotype.to_darts().encode() + b"\n",
        **{f"cell.{kind}": data for kind, data in drawn.items()},
    }
