"""The search job: settings -> records, result, genotype and pictures in a run directory."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Annotated, Any

import torch
import tyro

import nasi_ray
from nasi_ray.config import PRESETS, EstimateConfig, SampleConfig, WorkerConfig
from nasi_ray.data import ImageSet, data_identity, load_images, resolve_labels
from nasi_ray.distributed import cluster
from nasi_ray.distributed.cost import CostMeter, load_prices
from nasi_ray.distributed.metering import MeteredRunner
from nasi_ray.distributed.pool import RayRunner
from nasi_ray.errors import ConfigError
from nasi_ray.nasi.estimator import num_samples_needed
from nasi_ray.nasi.evaluate import failed_sample, make_evaluator, same_sample
from nasi_ray.networks.supernets import resolve_num_cells
from nasi_ray.progress import Progress
from nasi_ray.records import Sample
from nasi_ray.report.cell_plot import save_genotype_plot
from nasi_ray.runner import InProcessRunner, Runner
from nasi_ray.search import RESULT_SCHEMA, collect, summarise
from nasi_ray.spaces import Genotype, get_space
from nasi_ray.storage import Storage, open_storage
from nasi_ray.store import IdentityValue, RecordStore, read_identity

SAMPLING_VERSION = 1
"""Raised when a sample of the same settings becomes another one."""

CONFIG_NAME = "config.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchJob:
    """Search a cell at initialization, without training."""

    preset: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(PRESETS) + "}")] = "nasi-fix"
    """The paper's settings of the estimate (T, ν, μ, FIX or ADA); flags override its fields."""
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
        text = json.dumps(dataclasses.asdict(self.samples), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
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


def _complete_records(job: SearchJob, storage: Storage) -> RecordStore | None:
    """The run's records if they hold all samples asked for, without looking at any image.

    The data are taken to be those of the records when they are named as they were then.
    """
    stored, config = read_identity(storage), _read_config(storage)
    if stored is None or config.get("data") != job.samples.data:
        return None
    identity, num_logits = stored
    known = {name: identity.get(name) for name in ("data", "num_classes")}
    asked = _identity(job, known, str(identity.get("device")))
    store = RecordStore.open(storage, identity=asked, num_logits=num_logits)
    return None if store.missing(range(num_samples_needed(job.estimate))) else store


def _evaluate(
    job: SearchJob, storage: Storage, progress: Progress, meter: CostMeter
) -> RecordStore:
    space = get_space(job.samples.space)
    images = _load(job.samples, progress)
    with contextlib.ExitStack() as stack:
        device = _prepare(job, storage, stack)
        known: dict[str, Any] = dict(data_identity(images))
        if images is not None:
            known["num_classes"] = images.num_classes
        identity = _identity(job, known, device)
        store = RecordStore.open(storage, identity=identity, num_logits=space.num_logits)
        storage.write(CONFIG_NAME, _to_json({"data": job.samples.data, "identity": identity}))
        missing = store.missing(range(num_samples_needed(job.estimate)))
        if missing:
            runner = stack.enter_context(_runner(job, images, device, meter))
            collect(
                missing,
                runner=runner,
                store=store,
                progress=progress,
                space=space,
                config=job.estimate,
            )
    return store


def _load(samples: SampleConfig, progress: Progress) -> ImageSet | None:
    if samples.data == "random":
        return None
    start = time.perf_counter()
    images = load_images(samples.data, image_size=samples.image_size)
    seconds = time.perf_counter() - start
    progress.message(f"{len(images)} images of {samples.data} decoded in {seconds:.1f} s")
    return images


def _prepare(job: SearchJob, storage: Storage, stack: contextlib.ExitStack) -> str:
    """Connect to Ray if it is needed, and say which device samples are evaluated on."""
    if job.workers.num_workers == 0:
        has_gpu = torch.cuda.is_available()
    else:
        stack.enter_context(cluster.connect(job.address, job.workers))
        plan = cluster.plan_workers(
            cluster.live_nodes(), job.workers, has_autoscaler=cluster.has_autoscaler()
        )
        has_gpu = plan.gpus_per_worker > 0
    if job.samples.device != "auto":
        return job.samples.device
    stored = read_identity(storage)
    if stored is not None:
        return str(stored[0].get("device"))
    return "cuda" if has_gpu else "cpu"


@contextlib.contextmanager
def _runner(
    job: SearchJob, images: ImageSet | None, device: str, meter: CostMeter
) -> Iterator[Runner[Sample]]:
    args = (job.samples, images, device, job.workers.threads_per_worker)
    if job.workers.num_workers == 0:
        with _memory_told():
            evaluate = make_evaluator(*args)
        yield InProcessRunner(_memory_told()(evaluate))
        return
    runner = RayRunner(
        make_evaluator,
        args,
        workers=job.workers,
        on_failed=lambda index, reason: failed_sample(job.samples.space, index, reason),
        same=same_sample,
    )
    try:
        yield MeteredRunner(runner, meter)
    finally:
        runner.close()


@contextlib.contextmanager
def _memory_told() -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_sure = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not is_sure and "can't allocate memory" not in str(error):
            raise
        raise ConfigError(
            f"out of memory ({str(error).partition(chr(10))[0].rstrip('.')}); use a smaller "
            "batch_size, image_size, init_channels or num_cells"
        ) from error


def _identity(job: SearchJob, known: Mapping[str, Any], device: str) -> dict[str, IdentityValue]:
    """All that determines a sample; two runs with equal identities have equal samples."""
    samples = dataclasses.asdict(job.samples)
    samples["labels"] = resolve_labels(job.samples.labels, job.samples.data)
    samples["num_cells"] = resolve_num_cells(job.samples.space, job.samples.num_cells)
    if samples["device"] == "auto":
        samples["device"] = device
    return {
        **samples,
        **known,
        "threads_per_worker": job.workers.threads_per_worker,
        "sampling_version": SAMPLING_VERSION,
    }


def _conclude(
    job: SearchJob, storage: Storage, store: RecordStore, run: Mapping[str, Any]
) -> dict[str, Any]:
    space = get_space(job.samples.space)
    result = {
        "schema": RESULT_SCHEMA,
        "space": job.samples.space,
        "seed": job.samples.seed,
        **summarise(store.read(), space=space, config=job.estimate),
        "samples": _stored_identity(storage),
        "versions": _versions(),
        **run,
    }
    if "genotype" in result:
        _write_genotype(storage, result)
    storage.write("result.json", _to_json(result))
    return result


def _write_genotype(storage: Storage, result: Mapping[str, Any]) -> None:
    genotype = Genotype.from_dict(result["genotype"])
    storage.write("genotype.json", genotype.to_json().encode())
    storage.write("genotype.txt", genotype.to_darts().encode() + b"\n")
    title = f"NASI-{result['method'].upper()}, seed {result['seed']}, T={result['num_samples']}"
    for kind, data in save_genotype_plot(genotype, margins=result["margins"], title=title).items():
        storage.write(f"cell.{kind}", data)


def _stored_identity(storage: Storage) -> dict[str, Any]:
    stored = read_identity(storage)
    return stored[0] if stored else {}


def _read_config(storage: Storage) -> dict[str, Any]:
    try:
        config = json.loads(storage.read(CONFIG_NAME))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def _versions() -> dict[str, str]:
    packages = ("torch", "ray", "numpy", "pyarrow")
    return {
        "python": platform.python_version(),
        # Not asked of the installation: a job's own code comes with it and is not installed.
        "nasi_ray": nasi_ray.__version__,
        **{name: version(name) for name in packages},
    }


def _to_json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=2, allow_nan=False).encode() + b"\n"
