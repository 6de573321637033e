"""Driver overhead: what a sample costs the driver when evaluating it costs nothing.

    python benchmarks/driver_overhead.py [--num-samples 20000] [--pairs 3]

Two Ray workers return a ready-made DARTS sample (84 logits); the driver schedules, receives,
writes every record to disk and keeps the progress display's figures, as in a real search.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import numpy as np

from benchmarks.collecting import collect_timed
from benchmarks.measure import peak_mib, report, spread
from nasi_ray.config import ComputeSettings
from nasi_ray.nasi.evaluator import lost_sample
from nasi_ray.pool.connection import connect
from nasi_ray.pool.nodes import plan_for
from nasi_ray.pool.ray_runner import RayRunner
from nasi_ray.records.rows import Sample

WORKERS = ComputeSettings(num_workers=2)


def make_idle_evaluator() -> Callable[[int], Sample]:
    """An evaluator that computes nothing."""
    grad = np.random.default_rng(0).standard_normal(84)
    choices = np.zeros(16, dtype=np.int64)

    def evaluate(index: int) -> Sample:
        return Sample(index=index, status="ok", trace_norm=1.0 + index, grad=grad, choices=choices)

    return evaluate


def one_run(num_samples: int) -> tuple[float, float]:
    """Driver CPU and wall seconds per sample of a search of ``num_samples``."""
    runner = RayRunner(
        make_idle_evaluator,
        (),
        plan=plan_for(WORKERS),
        on_failed=lambda index, reason: lost_sample("darts", index, reason),
    )
    for _ in runner.run(range(num_samples, num_samples + 64)):
        pass  # the workers start outside the measurement
    wall, cpu = collect_timed(runner, num_samples)
    runner.close()
    return cpu / num_samples, wall / num_samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-samples", type=int, default=20_000)
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args()
    with connect(None, WORKERS):
        runs = [one_run(args.num_samples) for _ in range(args.pairs)]
    cpu, wall = ([1e6 * run[i] for run in runs] for i in (0, 1))
    rows = [
        ("driver CPU µs per sample", spread(cpu, 0)),
        ("wall µs per sample", spread(wall, 0)),
        ("driver peak MiB", f"{peak_mib():.0f}"),
    ]
    figures = {
        "driver_cpu_us_per_sample": statistics.median(cpu),
        "wall_us_per_sample": statistics.median(wall),
        "num_samples": args.num_samples,
        "pairs": args.pairs,
    }
    report(f"Driver overhead, {args.num_samples} samples a run, median (range)", rows, figures)


if __name__ == "__main__":
    main()
