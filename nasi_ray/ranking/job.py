"""The ranking job: settings -> scores of architectures, and how well they rank them."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from nasi_ray.data import make_batches, resolve_labels
from nasi_ray.errors import NasiRayError, SearchStoppedError
from nasi_ray.networks.supernets import resolve_num_cells
from nasi_ray.pool.cost import CostMeter, load_prices
from nasi_ray.progress import Progress
from nasi_ray.ranking.architectures import get_ranked_space
from nasi_ray.ranking.plan import RankJob, RankPlan, make_plan, score_identity
from nasi_ray.ranking.result import ScoreStore, conclude
from nasi_ray.ranking.scoring import handle, lost_score, make_score_evaluator, same_score
from nasi_ray.ranking.summary import BootstrapConfig
from nasi_ray.ranking.tracker import ScoreBoard
from nasi_ray.records import IdentityValue, RecordStore, ScoreRows, read_identity
from nasi_ray.records.rows import ProxyScore
from nasi_ray.run.collect import collect_rows
from nasi_ray.run.compute import (
    connect_device,
    load,
    memory_told,
    running,
    settle_device,
    to_json,
)
from nasi_ray.run.identity import CONFIG_NAME, data_source, found_out, read_source, remembered
from nasi_ray.runner import Runner, RunnerStatus
from nasi_ray.storage import Storage, open_storage


def run_rank(job: RankJob, progress: Progress) -> dict[str, Any]:
    """Run or continue a ranking, or answer it from its records.

    Args:
        job: Settings.
        progress: Display; not closed here.

    Returns:
        The content of ``ranking.json`` (``docs/ranking.md``), which is also written, as are
        ``ranking.md``, ``scores.csv`` and, with accuracies, the pictures.

    Raises:
        NasiRayError: Whatever a user can cause; what was computed is stored.
    """
    start = time.perf_counter()
    resolve_labels(job.scores.labels, job.scores.data)
    if job.scores.network == "supernet":
        resolve_num_cells(job.scores.space, job.scores.num_cells)
    prices = load_prices(job.price_list) if job.price_list else None
    plan = make_plan(job)
    meter = CostMeter()
    storage = open_storage(job.run_uri)
    with storage.lock():
        stores = _complete_records(job, plan, storage)
        if stores is None:
            stores = _evaluate(job, plan, storage, progress, meter)

        def run() -> dict[str, Any]:
            cost = {"cost": meter.summary(prices)} if prices else {}
            return {"seconds": time.perf_counter() - start, **cost}

        return conclude(
            storage,
            stores,
            space=job.scores.space,
            positions=plan.positions,
            seeds=plan.seeds,
            asked=job.architectures,
            accuracies=plan.accuracies,
            error_percent=plan.error_percent,
            bootstrap=BootstrapConfig(num_bootstrap=job.num_bootstrap, seed=0),
            run=run,
        )


def _open(
    plan: RankPlan, storage: Storage, identity: Mapping[str, IdentityValue]
) -> dict[str, ScoreStore]:
    return {
        proxy: RecordStore.open(storage, identity=identity, rows=ScoreRows(proxy))
        for proxy in plan.proxies
    }


def _complete_records(
    job: RankJob, plan: RankPlan, storage: Storage
) -> dict[str, ScoreStore] | None:
    """The run's records if they hold all scores asked for, without looking at any image."""
    stored = read_identity(storage)
    if stored is None or read_source(storage) != data_source(job.scores.data):
        return None
    known = remembered(job.scores.sample_config(0), stored[0])
    stores = _open(plan, storage, score_identity(job.scores, job.workers, known))
    is_complete = not any(store.missing(plan.indices(p)) for p, store in stores.items())
    return stores if is_complete else None


def _evaluate(
    job: RankJob, plan: RankPlan, storage: Storage, progress: Progress, meter: CostMeter
) -> dict[str, ScoreStore]:
    source = data_source(job.scores.data)
    images = load(job.scores.data, job.scores.image_size, progress)
    make_batches(job.scores.sample_config(0), images)  # what is wrong with the settings shows here
    device, workers = settle_device(job.scores.device, job.workers, storage)
    job = dataclasses.replace(
        job, scores=dataclasses.replace(job.scores, device=device), workers=workers
    )
    with contextlib.ExitStack() as stack:
        found = connect_device(job, device, stack, progress)
        identity = score_identity(job.scores, job.workers, found_out(images, found))
        stores = _open(plan, storage, identity)
        storage.write(CONFIG_NAME, to_json(source))
        threads = job.workers.threads_per_worker
        in_process = job.workers.num_workers == 0
        runner = stack.enter_context(
            running(
                job,
                _make_guarded_evaluator if in_process else make_score_evaluator,
                (job.scores, images, plan.proxies, found, threads),
                on_failed=lost_score,
                is_equal=same_score,
                noun="score",
                progress=progress,
                meter=meter,
            )
        )
        _collect_all(job, plan, stores, runner, progress)
    return stores


def _collect_all(
    job: RankJob,
    plan: RankPlan,
    stores: Mapping[str, ScoreStore],
    runner: Runner[ProxyScore],
    progress: Progress,
) -> None:
    """One proxy after the other, so that one writer is active; each in order of seeds."""
    for position, (proxy, store) in enumerate(stores.items()):
        wanted = plan.indices(proxy)
        missing = store.missing(wanted)
        if not missing:
            continue
        board = ScoreBoard(
            store.read().only(wanted),
            missing,
            title=f"{proxy} ({position + 1} of {len(stores)})",
            name=partial(_name, job.scores.space, proxy),
            clock=time.monotonic,
        )
        try:
            collect_rows(
                missing,
                runner=_OneProxy(runner, position),
                store=store,
                progress=progress,
                board=board,
                may_fail=True,
                named_in="ranking.json counts",
            )
        except SearchStoppedError as stop:
            try:
                left = {name: len(s.missing(plan.indices(name))) for name, s in stores.items()}
            except NasiRayError as error:  # a stop is one though the storage cannot be read
                raise stop from error
            asked = sum(len(plan.indices(name)) for name in stores)
            raise SearchStoppedError(
                f"stopped with {asked - sum(left.values())} of {asked} scores stored; the same "
                "command continues from them"
            ) from None


def _name(space: str, proxy: str, index: int) -> str:
    ranked = get_ranked_space(space)
    seed, position = divmod(index, ranked.num_architectures)
    return f"{proxy} of {ranked.architecture(position).to_string()} at seed {seed}"


def _make_guarded_evaluator(*args: Any) -> Callable[[int], ProxyScore]:
    """In this process, too, what raises is a lost score, and no end of the run."""
    evaluate = make_score_evaluator(*args)

    def guarded(given: int) -> ProxyScore:
        try:
            with memory_told():
                return evaluate(given)
        except NasiRayError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())
            return lost_score(given, f"{type(error).__name__}: {text}")

    return guarded


class _OneProxy:
    """A runner of record indices on one of handles."""

    def __init__(self, runner: Runner[ProxyScore], position: int) -> None:
        self._runner, self._position = runner, position

    def run(self, indices: Sequence[int]) -> Iterator[Sequence[ProxyScore]]:
        """See ``Runner``."""
        return self._runner.run([handle(self._position, index) for index in indices])

    def status(self) -> RunnerStatus:
        """See ``Runner``."""
        return self._runner.status()

    def close(self) -> None:
        """Nothing: the runner goes on with the next proxy."""
