"""How often a decision stands in another seed, against the probability that was stated.

    python benchmarks/confidence.py --out docs/study/confidence.png runs/study/runs/true-*

The runs are searches of several seeds of each space (at least three). Every run is judged at
several numbers of samples by every preset. Prints Markdown and draws a picture
(``docs/study/confidence.md``).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.config import EstimateConfig, get_preset
from nasi_ray.display.figures import BLUE, GREY, ORANGE, new_figure, render
from nasi_ray.display.tables import markdown_table
from nasi_ray.nasi.confidence import stopping_point
from nasi_ray.nasi.consensus import consensus_of
from nasi_ray.nasi.estimates import make_estimate, selected_cells
from nasi_ray.nasi.estimator import Estimate, first_choices, outcomes
from nasi_ray.search.run import Run
from nasi_ray.spaces import get_space
from nasi_ray.spaces.base import SearchSpace

NUM_SAMPLES = (50, 100, 200, 400, 800)
PRESETS = ("nasi-panel", "nasi-balanced", "nasi-relative")
EDGES = (0.0, 0.5, 0.7, 0.85, 0.95, 0.99, 1.0 + 1e-9)
STOPS = (0.8, 0.9, 0.95, 0.99)
STATED, PLAIN, OTHER, REST = range(4)
"""Columns: the stated probability, the bootstrap's share without √2, the share of the other seeds
that make the same choice, and whether the consensus of the other seeds does."""


def main() -> None:
    """Print the tables and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="run directories of searches")
    parser.add_argument("--presets", nargs="+", default=PRESETS, help="presets to judge")
    parser.add_argument("--out", default="confidence.png", help="picture to draw")
    args = parser.parse_args()
    by_space: dict[str, list[Run]] = {}
    for run in map(Run.open, sorted(args.runs)):
        by_space.setdefault(run.space, []).append(run)
    found, stops = {}, []
    for preset in args.presets:
        rows = [judged(get_space(s), runs, preset) for s, runs in by_space.items()]
        found[preset] = np.concatenate(rows)
        stops += [stopped(get_space(s), runs, preset) for s, runs in by_space.items()]
    for preset, rows_of_preset in found.items():
        print("\n".join([f"## {preset}", "", *table(rows_of_preset), ""]))
    headings = ("preset, space", *(f"stop at {stop:g}" for stop in STOPS))
    print("\n".join(markdown_table(headings, stops)))
    Path(args.out).write_bytes(picture(found))


def judged(space: SearchSpace, runs: Sequence[Run], preset: str) -> FloatArray:
    """A row per number of samples, run and decision; see ``STATED``."""
    rows = []
    for num_samples in NUM_SAMPLES:
        config = dataclasses.replace(get_preset(preset).estimate, num_samples=num_samples)
        results = [make_estimate(r.records, space, config, r.settings, num_draws=400) for r in runs]
        for result in results:
            rows += of_run(result, [r for r in results if r is not result], space, config)
    return np.array(rows)


def of_run(
    result: Estimate, others: Sequence[Estimate], space: SearchSpace, config: EstimateConfig
) -> list[tuple[float, ...]]:
    """What one run says of its choices, and what the others chose."""
    rest = first_choices(consensus_of(others, space, config).estimate.alpha, space)
    theirs = [first_choices(other.alpha, space) for other in others]
    stated, plain = outcomes(result), result.draws
    assert stated is not None
    assert plain is not None
    drawn = [[first_choices(alpha, space) for alpha in draws] for draws in (stated, plain)]
    return [
        (
            *(float(np.mean([one[name] == taken for one in draws])) for draws in drawn),
            float(np.mean([one[name] == taken for one in theirs])),
            float(rest[name] == taken),
        )
        for name, taken in first_choices(result.alpha, space).items()
    ]


def table(rows: FloatArray) -> list[str]:
    """Stated probabilities and what happened."""
    lines = []
    for low, high in pairwise(EDGES):
        cells = [f"{low:g} to {min(high, 1.0):g}"]
        for stated, happened in ((STATED, OTHER), (PLAIN, OTHER), (PLAIN, REST)):
            there = rows[(rows[:, stated] >= low) & (rows[:, stated] < high)]
            means = there.mean(axis=0) if len(there) else np.full(4, np.nan)
            cells.append(f"{len(there)}: {means[stated]:.2f} → {means[happened]:.2f}")
        lines.append(tuple(cells))
    headings = ("probability", "stated → another seed", "without √2 → another seed",
                "without √2 → all other seeds together")  # fmt: skip
    return markdown_table(headings, lines)


def stopped(space: SearchSpace, runs: Sequence[Run], preset: str) -> tuple[str, ...]:
    """Mean number of samples with which the runs end, and how often with the cell of all."""
    config = dataclasses.replace(get_preset(preset).estimate, num_samples=NUM_SAMPLES[-1])
    cells = []
    for stop in STOPS:
        counts, same = [], []
        for run in runs:
            count = stopping_point(run.records, space, config, run.settings, probability=stop)
            configs = [config, dataclasses.replace(config, num_samples=count)]
            one, other = selected_cells(run.records, space, configs, run.settings)
            counts.append(count)
            same.append(one.to_string() == other.to_string())
        cells.append(f"{np.mean(counts):.0f} samples; {sum(same)} of {len(same)} the same cell")
    return (f"{preset}, {space.name}", *cells)


def picture(found: dict[str, FloatArray]) -> bytes:
    """A reliability diagram a preset."""
    figure, panels = new_figure(len(found), size=(3.2 * len(found), 3.5))
    for panel, (preset, rows) in zip(panels, found.items(), strict=True):
        panel.plot([0, 1], [0, 1], color=GREY, linewidth=1)
        for stated, color, label in (
            (STATED, BLUE, "as stated"),
            (PLAIN, ORANGE, "without √2"),
        ):
            groups = np.digitize(rows[:, stated], EDGES)
            means = [rows[groups == g].mean(axis=0) for g in np.unique(groups)]
            x, y = [m[stated] for m in means], [m[OTHER] for m in means]
            panel.plot(x, y, color=color, marker="o", markersize=4, label=label)
        panel.set_title(preset, fontsize=9)
        panel.set_xlabel("probability that a decision stands", fontsize=8)
        panel.set_ylabel("share of other seeds that agree", fontsize=8)
        panel.legend(fontsize=7.5, frameon=False)
    return render(figure)["png"]


if __name__ == "__main__":
    main()
