"""A sweep against the same searches one after the other, as a user types both.

    python -m benchmarks.sweep [--space s2] [--num-seeds 10] [--pairs 1] [--data DIR]

``nasi-ray sweep --seeds 0:N --num-workers 2``, and ``nasi-ray search --seed i`` with its default
number of workers for each of the N seeds, in turn. Both have the same cells, or the run ends.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import report, spread


def run(*args: str) -> float:
    """Wall seconds of a command of nasi-ray."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "nasi_ray", *args],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def pair(folder: Path, common: list[str], num_seeds: int) -> tuple[float, float]:
    """Wall seconds of the sweep, and of the searches together."""
    seeds = ("--seeds", f"0:{num_seeds}", "--num-workers", "2")
    sweep = run("sweep", *common, *seeds, "--out", str(folder / "sweep"))
    alone = sum(
        run("search", *common, "--seed", str(seed), "--out", str(folder / str(seed)))
        for seed in range(num_seeds)
    )
    (point,) = json.loads((folder / "sweep" / "sweep.json").read_text())["combinations"]
    for one in point["searches"]:
        search = json.loads((folder / str(one["seed"]) / "result.json").read_text())
        assert search["kept_probabilities"] == one["kept_probabilities"]
    return sweep, alone


def main() -> None:
    """Run the pairs and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", default="s2")
    parser.add_argument("--num-seeds", type=int, default=10)
    parser.add_argument("--num-samples", type=int, help="of each search; default: the preset's")
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--data", default="random")
    args = parser.parse_args()
    common = ["--space", args.space, "--data", args.data]
    if args.num_samples is not None:
        common += ["--num-samples", str(args.num_samples)]
    walls = []
    for _ in range(args.pairs):
        with tempfile.TemporaryDirectory() as folder:
            walls.append(pair(Path(folder), common, args.num_seeds))
    sweeps, alone = zip(*walls, strict=True)
    ratios = [one / other for one, other in walls]
    report(
        f"{args.num_seeds} seeds of {args.space}, {args.data} data, median (lowest to highest)",
        [
            ("sweep with 2 workers, s", spread(sweeps)),
            ("searches one after the other, s", spread(alone)),
            ("ratio", spread(ratios)),
        ],
        {"sweep_s": sweeps, "searches_s": alone, "ratio": statistics.median(ratios)},
    )


if __name__ == "__main__":
    main()
