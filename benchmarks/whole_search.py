"""A whole search on real CIFAR-10: wall time, samples/s, and the efficiency of two workers.

    python benchmarks/whole_search.py [--num-samples 100] [--pairs 3]

First ``jobs/search.py`` as a user runs it, from the command to the pictures. Then, in turn, two
Ray workers and the in-process runner, one thread each, collect the same samples as the job does,
records and progress included, from the first index to the last sample stored:
efficiency = (samples/s of two workers) / (2 × samples/s in process). Only the start of Ray and of
the workers is left out of that (it is in the wall time of the command).
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.collecting import collect_timed
from benchmarks.measure import cifar10_dir, report, spread
from nasi_ray.config import ComputeSettings, SampleConfig
from nasi_ray.data.load import load_images
from nasi_ray.display.progress import LogProgress
from nasi_ray.nasi.evaluator import lost_sample
from nasi_ray.pool.connection import connect
from nasi_ray.pool.nodes import plan_for
from nasi_ray.pool.ray_runner import RayRunner
from nasi_ray.runner import InProcessRunner, Runner
from nasi_ray.search.names import SAMPLES
from nasi_ray.search.series import Record, make_series_evaluator

JOB = Path(__file__).parents[1] / "jobs" / "search.py"
WORKERS = ComputeSettings(num_workers=2)
NUM_PAIRED = 50
WARM_UP = range(1_000_000, 1_000_006)


def whole_command(num_samples: int) -> float:
    """Wall seconds of the job as the README has it."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(
            [
                sys.executable,
                str(JOB),
                *("--preset", "nasi-fix", "--data", str(cifar10_dir()), "--out", folder),
                *("--num-workers", "2", "--num-samples", str(num_samples)),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return time.perf_counter() - start


def rate(runner: Runner[Record], num_samples: int) -> float:
    """Samples/s of ``collect`` with a runner that is up."""
    wall, _ = collect_timed(runner, num_samples, LogProgress(io.StringIO()))
    return num_samples / wall


def main() -> None:
    """Run both parts and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-samples", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args()
    walls = [whole_command(args.num_samples) for _ in range(args.pairs)]
    config = SampleConfig(data=str(cifar10_dir()))
    images = load_images(config.data, image_size=config.image_size)
    alone = InProcessRunner(make_series_evaluator(config, images, (SAMPLES,), "cpu", 1))
    list(alone.run(WARM_UP))
    two_rates, alone_rates = [], []
    with connect(None, WORKERS):
        runner = RayRunner(
            make_series_evaluator,
            (config, images, (SAMPLES,), "cpu", 1),
            plan=plan_for(WORKERS),
            on_failed=lambda index, reason: lost_sample("darts", index, reason),
        )
        list(runner.run(WARM_UP))
        for _ in range(args.pairs):
            two_rates.append(rate(runner, NUM_PAIRED))
            alone_rates.append(rate(alone, NUM_PAIRED))
        runner.close()
    efficiency = [t / (2 * a) for t, a in zip(two_rates, alone_rates, strict=True)]
    rows = [
        (f"wall s of the command, T={args.num_samples}", spread(walls, 1)),
        ("samples/s, two Ray workers", spread(two_rates)),
        ("samples/s, in process, one thread", spread(alone_rates)),
        ("efficiency of two workers", spread(efficiency)),
    ]
    figures = {
        "wall_s": statistics.median(walls),
        "samples_per_s_two_workers": statistics.median(two_rates),
        "samples_per_s_in_process": statistics.median(alone_rates),
        "efficiency": statistics.median(efficiency),
        "num_samples": args.num_samples,
        "pairs": args.pairs,
    }
    report(f"Whole search on CIFAR-10, {args.pairs} pairs, median (range)", rows, figures)


if __name__ == "__main__":
    main()
