"""Time of answers that need no evaluation: a grid replayed, and an estimate resampled.

    OMP_NUM_THREADS=1 python -m benchmarks.answers

Made-up records of ten seeds with T = 1,000 samples. 400 points (method, ν, μ, T) of the paper's
estimate, and 1,000 draws of the estimate that each space has by default and of the paper's. Prints
Markdown; CPU seconds, each the median of three runs.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np

from nasi_ray.config import PATH, PATH_MEASUREMENTS, EstimateConfig, get_preset
from nasi_ray.display.tables import markdown_table
from nasi_ray.nasi.estimates import make_estimate, selected_cells
from nasi_ray.nasi.gumbel import sample_architecture
from nasi_ray.records.rows import MeasurementTable, SampleTable, SearchRecords
from nasi_ray.replay.grid import configs_of, parse_grid, points_of
from nasi_ray.search.settings import auto_preset
from nasi_ray.spaces import get_space
from nasi_ray.spaces.base import SearchSpace

NUM_SAMPLES, NUM_SEEDS, NUM_DRAWS, NUM_RUNS = 1000, 10, 1000, 3
GRID = ("method=fix,ada", "nu=20:2000:log:20", "mu=0,1", "num_samples=200,400,600,800,1000")


def main() -> None:
    """Print a row for each space."""
    rows = []
    for name in ("darts", "nb201", "s1", "s2", "s3"):
        space = get_space(name)
        seeds = [made_up(space, seed) for seed in range(NUM_SEEDS)]
        default = get_preset(auto_preset(name)).estimate
        times = (
            lambda space=space, seeds=seeds: replay(space, seeds),
            lambda space=space, seeds=seeds: resample(space, seeds[0], EstimateConfig()),
            lambda space=space, seeds=seeds, config=default: resample(space, seeds[0], config),
        )
        rows.append([f"{name} ({auto_preset(name)})", *map(seconds, times)])
    headings = ("space (default)", "replay", "eq. 18 resampled", "default resampled")
    print("\n".join(markdown_table(headings, rows)))


def made_up(space: SearchSpace, seed: int) -> SearchRecords:
    rng = np.random.default_rng(seed)
    index, ok = np.arange(NUM_SAMPLES), np.ones(NUM_SAMPLES, dtype=np.bool_)
    drawn = [
        sample_architecture(space, ["any"], rng, sample_per="step", temperature=1.0).choices
        for _ in index
    ]
    choices = np.array(drawn, dtype=np.int16)
    values = {name: rng.lognormal(3.0, size=NUM_SAMPLES) for name in PATH_MEASUREMENTS}
    table = MeasurementTable(
        index=index,
        ok=ok,
        lost=~ok,
        values=values,
        choices=choices,
        seconds=np.ones(NUM_SAMPLES),
    )
    samples = SampleTable(
        index=index,
        ok=ok,
        trace_norm=rng.lognormal(3.0, size=NUM_SAMPLES),
        grad=rng.standard_normal((NUM_SAMPLES, space.num_logits)),
        choices=choices,
        seconds=np.ones(NUM_SAMPLES),
    )
    return SearchRecords(samples=samples, measurements={PATH: table})


def replay(space: SearchSpace, seeds: Sequence[SearchRecords]) -> None:
    default = EstimateConfig(num_samples=NUM_SAMPLES)
    points = points_of(parse_grid(GRID))
    configs = configs_of(points, lambda settings: dataclasses.replace(default, **settings))
    assert len(configs) == 400
    for seed, records in enumerate(seeds):
        selected_cells(records, space, configs, {"seed": seed})


def resample(space: SearchSpace, records: SearchRecords, config: EstimateConfig) -> None:
    config = dataclasses.replace(config, num_samples=NUM_SAMPLES)
    make_estimate(records, space, config, {"seed": 0}, num_draws=NUM_DRAWS)


def seconds(call: Callable[[], None]) -> str:
    taken = []
    for _ in range(NUM_RUNS):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return f"{statistics.median(taken):.2f}"


if __name__ == "__main__":
    main()
