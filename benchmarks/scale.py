"""Scale without machines: what one driver can feed, and the memory that a million samples take.

    python benchmarks/scale.py [--num-samples 100000] [--num-each 20000]

Simulated workers in virtual time, everything else real: the scheduler decides, results arrive as
late as workers of that speed would send them, ``collect`` keeps the progress figures and the
recorder stores every part on disk. A display twice a second and a part, every five seconds to every
minute, cost the same however little is in them: dear for a sample of a slow stream, little of a
CPU, so both are told. Loading pandas, which Arrow does once in a process, is left out.
The driver saturates where its CPU per sample (of the fastest stream) is all the time there is:
workers = sample seconds / CPU seconds per sample. ``driver_overhead.py`` has what Ray itself adds.
"""

from __future__ import annotations

import argparse
import heapq
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.collecting import Silent
from benchmarks.measure import peak_mib, report
from nasi_ray.config import EstimateConfig
from nasi_ray.nasi.estimator import estimate
from nasi_ray.nasi.evaluator import same_sample
from nasi_ray.pool.scheduler.decisions import Finished, StartWorker, SubmitCall
from nasi_ray.pool.scheduler.policy import PoolPolicy
from nasi_ray.pool.scheduler.scheduler import Scheduler
from nasi_ray.records import RecordStore, SampleRows
from nasi_ray.records.rows import Sample
from nasi_ray.runner import RunnerStatus
from nasi_ray.search.collect import collect
from nasi_ray.search.result import describe_alpha
from nasi_ray.spaces import get_space
from nasi_ray.storage import LocalStorage

SPACE = get_space("darts")
NUM_WORKERS = (1, 10, 100, 1000)
SAMPLE_S = (0.05, 1.0)
_POOL_SIZE = 1024


class SimulatedRunner:
    """Workers of an exact speed, in virtual time, behind the real scheduler."""

    def __init__(self, num_workers: int, sample_s: float) -> None:
        self._num_workers, self._sample_s = num_workers, sample_s
        self._scheduler: Scheduler[Sample] = Scheduler(PoolPolicy(), same_sample)
        self._arrivals: list[tuple[float, int, SubmitCall]] = []
        self._free_at: dict[int, float] = {}
        rng = np.random.default_rng(0)
        self._grads = rng.standard_normal((_POOL_SIZE, SPACE.num_logits))
        self._trace_norms = rng.lognormal(3.0, size=_POOL_SIZE)
        self._choices = np.zeros(len(SPACE.decisions), dtype=np.int64)
        self.now = 0.0
        """Virtual seconds."""
        self.making_s = 0.0
        """CPU spent on making samples, which workers and the network do in a real search."""

    def run(self, indices: Sequence[int]) -> Iterator[Sequence[Sample]]:
        """Evaluate every index once."""
        self._scheduler.add(indices)
        self._scheduler.tick(self._num_workers)
        while True:
            for decision in self._scheduler.decide(self.now):
                if isinstance(decision, Finished):
                    return
                self._carry_out(decision)
            yield self._next_results()

    def status(self) -> RunnerStatus:
        """All of them work."""
        return RunnerStatus(num_alive=self._scheduler.num_ready)

    def close(self) -> None:
        """Nothing to release."""

    def _carry_out(self, decision: object) -> None:
        match decision:
            case StartWorker(worker):
                self._free_at[worker] = 0.0
                self._scheduler.placed(worker)
                self._scheduler.ready(worker)
            case SubmitCall(call, worker, indices):
                begins = max(self.now, self._free_at[worker])
                self._free_at[worker] = begins + len(indices) * self._sample_s
                heapq.heappush(self._arrivals, (self._free_at[worker], call, decision))
            case _:
                raise RuntimeError(f"nothing goes wrong here, and yet: {decision}")

    def _next_results(self) -> list[Sample]:
        if not self._arrivals:
            return []
        self.now = self._arrivals[0][0]
        results: list[Sample] = []
        # Those that arrive within a millisecond are received together, as by ``ray.wait``.
        while self._arrivals and self._arrivals[0][0] <= self.now + 1e-3:
            _, _, call = heapq.heappop(self._arrivals)
            begun = time.process_time()
            made = [(index, self._sample(index)) for index in call.indices]
            self.making_s += time.process_time() - begun
            seconds = len(made) * self._sample_s
            results += self._scheduler.call_done(call.call, made, [], seconds, self.now)
        return results

    def _sample(self, index: int) -> Sample:
        row = index % _POOL_SIZE
        return Sample(
            index=index,
            status="ok",
            trace_norm=float(self._trace_norms[row]),
            grad=self._grads[row].copy(),
            choices=self._choices,
            seconds=self._sample_s,
            worker="simulated",
        )


def measure(num_workers: int, sample_s: float, num_samples: int) -> dict[str, float]:
    """CPU of the driver and memory of a search with records on disk; and, once, the answer."""
    runner = SimulatedRunner(num_workers, sample_s)
    config = EstimateConfig(num_samples=num_samples)
    with tempfile.TemporaryDirectory() as folder:
        store = RecordStore.open(LocalStorage(folder), identity={"scale": 1}, rows=SampleRows(84))
        store.read()  # Arrow loads pandas at its first array
        before = peak_mib()
        cpu = time.process_time()
        collect(
            range(num_samples),
            runner=runner,
            store=store,
            progress=Silent(),
            space=SPACE,
            config=config,
            # What the driver itself takes is time too: the display makes itself rarer by it.
            clock=lambda: runner.now + time.process_time(),
        )
        cpu = time.process_time() - cpu - runner.making_s
        collected = peak_mib()
        cpu_answer = time.process_time()
        describe_alpha(estimate(store.read(), config), SPACE)
        cpu_answer = time.process_time() - cpu_answer
        num_parts = store.num_parts
    return {
        "cpu_us_per_sample": 1e6 * cpu / num_samples,
        "cpu_share": cpu / runner.now,
        "num_parts": num_parts,
        "rss_before_mib": before,
        "rss_collected_mib": collected,
        "rss_answered_mib": peak_mib(),
        "answer_s": cpu_answer,
    }


def measure_apart(num_workers: int, sample_s: float, num_samples: int) -> dict[str, float]:
    """``measure`` in a process of its own, so that peaks of memory are its own too."""
    args = [str(num_workers), str(sample_s), str(num_samples)]
    done = subprocess.run(
        [sys.executable, __file__, "--one", *args], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure every case and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-samples", type=int, default=100_000, help="of the large search")
    parser.add_argument("--num-each", type=int, default=20_000, help="of each other case")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        workers, seconds, samples = args.one
        print(json.dumps(measure(int(workers), float(seconds), int(samples))))
        return
    cases = {
        (workers, sample_s): measure_apart(workers, sample_s, args.num_each)
        for sample_s in SAMPLE_S
        for workers in NUM_WORKERS
    }
    large = measure_apart(1000, 0.05, args.num_samples)
    per_sample_s = 1e-6 * cases[max(NUM_WORKERS), min(SAMPLE_S)]["cpu_us_per_sample"]
    rows = [
        (
            f"{workers} workers, {1000 * sample_s:.0f} ms samples",
            f"{case['cpu_us_per_sample']:.1f} µs CPU a sample, {100 * case['cpu_share']:.3f} % "
            "of a CPU",
        )
        for (workers, sample_s), case in cases.items()
    ]
    rows += [
        (f"one driver feeds, {1000 * s:.0f} ms samples", f"{s / per_sample_s:,.0f} workers")
        for s in SAMPLE_S
    ]
    rows += [
        (f"T={args.num_samples:,}, CPU µs a sample", f"{large['cpu_us_per_sample']:.0f}"),
        ("  RSS MiB at the start", f"{large['rss_before_mib']:.0f}"),
        ("  RSS MiB, all held and written", f"{large['rss_collected_mib']:.0f}"),
        ("  RSS MiB, answer computed", f"{large['rss_answered_mib']:.0f}"),
        ("  CPU s of the answer", f"{large['answer_s']:.1f}"),
    ]
    figures = {
        "cases": [
            {"workers": workers, "sample_s": sample_s, **case}
            for (workers, sample_s), case in cases.items()
        ],
        "cpu_us_per_sample": 1e6 * per_sample_s,
        "largest_cpu_share_of_one_worker": max(cases[1, s]["cpu_share"] for s in SAMPLE_S),
        "saturates_at_workers": {str(s): s / per_sample_s for s in SAMPLE_S},
        "num_samples": args.num_samples,
        "large": large,
    }
    report(f"Simulated workers, {args.num_each} samples a case", rows, figures)


if __name__ == "__main__":
    main()
