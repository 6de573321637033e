"""Chaos: searches on a real Ray cluster and S3 while both, and the driver, keep failing.

    python benchmarks/chaos.py [--runs 50] [--seed 0] [--first 0]

Every run is a whole search (T=64, tiny DARTS supernet, each sample slowed down) on three raylets,
its records on disk or, every other run, on S3 (moto). Each time some more samples are stored, a
fault drawn from the seed strikes: a worker or a raylet is killed, a node drained, a node added, the
driver killed (and started again, as a user would), S3 fails for some requests. So a busy machine
measures the same, only later. Afterwards α must be that of the in-process search, bit for bit, and
every sample must be stored. A run that comes to no end is a row of the table. The logs stay if
anything went wrong.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.chaos_cluster import NUM_NODES, ChaosCluster, chaos_cluster, kill_worker
from benchmarks.chaos_driver import TINY, Ledger, drive
from benchmarks.chaos_s3 import BUCKET, FAULTS, FaultyS3
from benchmarks.measure import report, spread
from nasi_ray.display.progress import LogProgress
from nasi_ray.search.job import run_search
from nasi_ray.search.settings import parse_search
from nasi_ray.storage import Storage, open_storage

NUM_SAMPLES = 64
LOCKED = "locked by the driver that was killed"
SLEEP_S = 0.15
MOST_BETWEEN = 6
"""Samples that are stored between two faults, at most."""
RUN_LIMIT_S = 600.0
MOST_OF_A_KIND = {
    "worker killed": 3,
    "node killed": 1,
    "node drained": 1,
    "node added": 2,
    "driver killed": 1,
    "S3": 4,
}
"""Faults of one run; a storm that never ends keeps a run from getting anywhere."""


@dataclass(kw_only=True)
class Outcome:
    """What became of one run."""

    place: str
    """disk or s3"""
    log: Path
    """What its drivers have printed."""
    is_ended: bool = False
    is_identical: bool = False
    is_whole: bool = False
    num_twice: int = 0
    """Samples stored twice: in a part, and in one that it was merged into before a kill."""
    wall_s: float = 0.0
    num_evaluations: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """Why drivers ended of their own accord, and how often; they were started again."""
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def recomputed(self) -> float:
        """Evaluations beyond the first of each sample, as a share of T."""
        return (self.num_evaluations - NUM_SAMPLES) / NUM_SAMPLES

    @property
    def is_good(self) -> bool:
        """Whether it ended as it must."""
        return self.is_ended and self.is_identical and self.is_whole


@dataclass(kw_only=True)
class Chaos:
    """Strikes the cluster, the storage and the driver; which, and when, is drawn from ``rng``."""

    rng: random.Random
    cluster: ChaosCluster
    s3: FaultyS3
    is_on_s3: bool
    faults: Counter[str]

    def strike(self, driver: Any, ledger: Ledger) -> None:
        """One fault of those that can happen now."""
        left = [kind for kind, most in MOST_OF_A_KIND.items() if self._count(kind) < most]
        kinds = [kind for kind in left if self._can_happen(kind)]
        # Weighted by what is left of each, so that a storm is mixed to its end.
        kinds = [k for k in kinds for _ in range(MOST_OF_A_KIND[k] - self._count(k))]
        if not kinds:
            return
        kind = self.rng.choice(kinds)
        if kind == "worker killed" and not kill_worker(ledger.numbers("worker"), self.rng):
            return
        if kind == "node added":
            self.cluster.add_node()
        elif kind == "node killed":
            self.cluster.kill_node(self.rng)
        elif kind == "node drained":
            self.cluster.drain_node(self.rng)
        elif kind == "driver killed":
            driver.kill()
        elif kind == "S3":
            how = self.rng.choice(FAULTS)
            self.s3.fail(how, self.rng.randint(1, 5))
            kind = f"S3 {how}"
        self.faults[kind] += 1

    def _count(self, kind: str) -> int:
        return sum(num for found, num in self.faults.items() if found.startswith(kind))

    def _can_happen(self, kind: str) -> bool:
        if kind == "S3":
            return self.is_on_s3
        if kind in ("node killed", "node drained"):
            return self.cluster.num_nodes > 1
        return kind != "node added" or self.cluster.num_nodes <= NUM_NODES


def one_run(
    chaos: Chaos, out: str, folder: Path, *, is_calm: bool, limit_s: float = RUN_LIMIT_S
) -> Outcome:
    """Search until the driver ends with success or time is up, and look at what is stored."""
    place = "s3" if chaos.is_on_s3 else "disk"
    outcome = Outcome(place=place, faults=chaos.faults, log=folder / "log")
    ledger = Ledger(folder / "ledger")
    argv = [*TINY, "--num-samples", str(NUM_SAMPLES), "--out", out]
    argv += ["--address", chaos.cluster.address]
    context = multiprocessing.get_context("forkserver")
    start = time.monotonic()
    strike_at = first_strike(chaos.rng)
    driver: Any = None
    while driver is None or driver.exitcode != 0:
        if driver is None or driver.exitcode is not None:
            if driver is not None:
                time.sleep(0.5)
            driver = context.Process(target=drive, args=(argv, ledger, SLEEP_S, outcome.log))
            driver.start()
        driver.join(0.05)
        if driver.exitcode != 0 and time.monotonic() - start > limit_s:
            driver.kill()
            break
        chaos.cluster.reap()
        num_stored = sum(ledger.numbers("stored"))
        if not is_calm and driver.is_alive() and num_stored >= strike_at:
            chaos.strike(driver, ledger)
            strike_at += chaos.rng.randint(1, MOST_BETWEEN)
    outcome.is_ended = driver.exitcode == 0
    outcome.wall_s = time.monotonic() - start
    chaos.s3.heal()
    outcome.errors.update(errors_of(outcome.log))
    outcome.num_evaluations = len(ledger.numbers("sample"))
    return outcome


def first_strike(rng: random.Random) -> int:
    """How many samples are stored when the first fault strikes; of some runs, none."""
    return max(0, rng.randint(-MOST_BETWEEN, MOST_BETWEEN))


def examine(outcome: Outcome, out: str, expected: Any) -> None:
    """Compare what a run has left with what it must be; a run that did not end stays as it is."""
    if not outcome.is_ended:
        return
    storage = open_storage(out)
    stored = stored_indices(storage)
    outcome.is_whole = sorted(set(stored)) == list(range(NUM_SAMPLES))
    outcome.num_twice = len(stored) - len(set(stored))
    outcome.is_identical = json.loads(storage.read("result.json"))["alpha"] == expected


def errors_of(log: Path) -> list[str]:
    """The errors drivers ended with, those of a lock that has not expired yet in few words."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    errors = [line for line in lines if line.startswith(("error: ", "Traceback"))]
    return [LOCKED if "is being written by" in error else error for error in errors]


def stored_indices(storage: Storage) -> list[int]:
    """The sample indices in all parts, repeated ones repeated."""
    names = storage.list("samples/")
    tables = [pq.read_table(pa.BufferReader(storage.read(name))) for name in names]
    return [index for table in tables for index in table["index"].to_pylist()]


def in_process_alpha(folder: Path) -> Any:
    """α of the same search without Ray and without faults."""
    argv = [*TINY, "--num-samples", str(NUM_SAMPLES), "--num-workers", "0", "--out", str(folder)]
    return run_search(parse_search(argv), LogProgress(sys.stderr)).content["alpha"]


def campaign(first: int, num_runs: int, num_calm: int, seed: int, folder: Path) -> list[Outcome]:
    """All runs in turn on one cluster, the undisturbed ones first; told one by one on stderr."""
    expected = in_process_alpha(folder / "in_process")
    outcomes = []
    with FaultyS3() as s3:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["benchmarks.chaos_driver"])
        with chaos_cluster(folder / "ray") as cluster:
            # Ray has taken the signal for itself.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
            for number in (*range(-2 * num_calm, 0), *range(first, first + num_runs)):
                cluster.replenish()
                here = folder / f"run{number}"
                here.mkdir()
                is_on_s3 = number % 2 == 1
                out = f"s3://{BUCKET}/run{number}" if is_on_s3 else str(here / "out")
                chaos = Chaos(
                    rng=random.Random(f"{seed}/{number}"),
                    cluster=cluster,
                    s3=s3,
                    is_on_s3=is_on_s3,
                    faults=Counter(),
                )
                outcome = one_run(chaos, out, here, is_calm=number < 0)
                examine(outcome, out, expected)
                outcomes.append(outcome)
                print(number, outcome, file=sys.stderr, flush=True)
    return outcomes


def tell(outcomes: list[Outcome], num_calm: int, seed: int) -> None:
    """The table and the JSON line."""
    calm, wild = outcomes[: 2 * num_calm], outcomes[2 * num_calm :]
    usual_s = {
        place: statistics.median(run.wall_s for run in calm if run.place == place)
        for place in ("disk", "s3")
    }
    slowdown = [run.wall_s / usual_s[run.place] for run in wild]
    endless = [run for run in outcomes if not run.is_ended]
    faults = sum((run.faults for run in wild), Counter[str]())
    errors = sum((run.errors for run in wild), Counter[str]())
    recomputed = statistics.fmean(run.recomputed for run in wild)
    num_identical = sum(run.is_identical for run in wild)
    num_whole = sum(run.is_whole for run in wild)
    num_twice = sum(run.num_twice for run in wild)
    rows = [
        ("α bit-identical to the in-process search", f"{num_identical} of {len(wild)} runs"),
        ("every sample stored", f"{num_whole} of {len(wild)} runs"),
        ("samples stored twice", str(num_twice)),
        ("no end in time", ", ".join(str(run.log) for run in endless) or "none"),
        ("faults", ", ".join(f"{n} × {kind}" for kind, n in sorted(faults.items()))),
        ("driver ended by itself and was started again", f"{errors.total()} times"),
        ("  because the killed one's lease had not expired", f"{errors[LOCKED]} times"),
        ("samples evaluated again, % of T", f"{100 * recomputed:.1f}"),
        ("wall s", spread([run.wall_s for run in wild], 1)),
        ("wall s undisturbed", spread([run.wall_s for run in calm], 1)),
        ("wall against undisturbed", spread(slowdown)),
    ]
    figures = {
        "runs": len(wild),
        "identical": num_identical,
        "whole": num_whole,
        "stored_twice": num_twice,
        "endless": len(endless),
        "faults": dict(sorted(faults.items())),
        "driver_errors": {"locked": errors[LOCKED], "other": errors.total() - errors[LOCKED]},
        "recomputed_share": recomputed,
        "recomputed_share_undisturbed": statistics.fmean(run.recomputed for run in calm),
        "slowdown_median": statistics.median(slowdown),
        "seed": seed,
        "outcomes": [[run.place, round(run.wall_s, 1), run.num_evaluations] for run in wild],
    }
    report(f"Chaos, {len(wild)} runs of T={NUM_SAMPLES}, median (range)", rows, figures)


def main() -> None:
    """Run the campaign and report; exit status 1 if any run went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    parser.add_argument("--calm", type=int, default=2, help="undisturbed runs on disk and on S3")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    # Ray's sockets need a short path.
    folder = tempfile.mkdtemp(prefix="chaos-", dir="/tmp")
    outcomes = campaign(args.first, args.runs, args.calm, args.seed, Path(folder))
    tell(outcomes, args.calm, args.seed)
    if bad := [run for run in outcomes if not run.is_good]:
        sys.exit(f"{len(bad)} runs went wrong; see {', '.join(str(run.log) for run in bad)}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
