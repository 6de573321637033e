"""Pool overhead: a search on real Ray against the sum of its work.

    python benchmarks/pool_overhead.py [--num-samples 400] [--runs 5]

Two Ray workers (up and warm) sleep 50 ms a sample and return a ready-made DARTS sample (84
logits); the driver schedules, receives, writes every record to disk and keeps the progress
display's figures. overhead = wall / (samples · 50 ms / 2) − 1, the last record on disk included.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from benchmarks.collecting import collect_timed
from benchmarks.driver_overhead import WORKERS, make_idle_evaluator
from benchmarks.measure import report, spread
from nasi_ray.nasi.evaluator import lost_sample, same_sample
from nasi_ray.pool.connection import connect
from nasi_ray.pool.nodes import plan_for
from nasi_ray.pool.ray_runner import RayRunner
from nasi_ray.records.rows import Sample

SAMPLE_S = 0.05
NUM_WORKERS = 2


def make_sleeping_evaluator() -> Callable[[int], Sample]:
    """An evaluator that takes exactly as long as it says, and next to no CPU."""
    evaluate = make_idle_evaluator()

    def evaluate_slowly(index: int) -> Sample:
        until = time.perf_counter() + SAMPLE_S
        sample = evaluate(index)
        time.sleep(until - time.perf_counter())
        return sample

    return evaluate_slowly


def one_run(runner: RayRunner[Sample], num_samples: int) -> tuple[float, float]:
    """Overhead, and driver CPU seconds per sample, of one search."""
    wall, cpu = collect_timed(runner, num_samples)
    return wall / (num_samples * SAMPLE_S / NUM_WORKERS) - 1, cpu / num_samples


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-samples", type=int, default=400)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    with connect(None, WORKERS):
        runner = RayRunner(
            make_sleeping_evaluator,
            (),
            plan=plan_for(WORKERS),
            on_failed=lambda index, reason: lost_sample("darts", index, reason),
            same=same_sample,
        )
        # The workers start outside the measurement.
        while runner.status().num_alive < NUM_WORKERS:
            for _ in runner.run(range(40)):
                pass
        runs = [one_run(runner, args.num_samples) for _ in range(args.runs)]
        runner.close()
    overhead = [100 * run[0] for run in runs]
    cpu = [1e6 * run[1] for run in runs]
    rows = [
        ("overhead against the sum of the work, %", spread(overhead, 1)),
        ("driver CPU µs per sample", spread(cpu, 0)),
    ]
    figures = {
        "overhead_percent": statistics.median(overhead),
        "driver_cpu_us_per_sample": statistics.median(cpu),
        "sample_s": SAMPLE_S,
        "num_workers": NUM_WORKERS,
        "num_samples": args.num_samples,
        "runs": args.runs,
    }
    title = f"Pool overhead, {args.num_samples} samples of 50 ms, {NUM_WORKERS} workers"
    report(f"{title}, median (range)", rows, figures)


if __name__ == "__main__":
    main()
