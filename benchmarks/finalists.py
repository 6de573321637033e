"""Finalists against a table: how good the answer is, by how many cells are compared.

    python -m benchmarks.finalists --table ../shared/data --runs runs/nb201-*

The runs are searches of one space whose table has validation accuracies of a short schedule, which
choose, and test accuracies of the full one, which judge. Prints Markdown (``docs/finalists.md``).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nasi_ray.arrays import FloatArray
from nasi_ray.config import EstimateConfig, get_preset
from nasi_ray.display.tables import markdown_table
from nasi_ray.finalists.cells import best_cells
from nasi_ray.finalists.outcome import Outcome, best_of
from nasi_ray.finalists.table import look_up, open_validation
from nasi_ray.nasi.estimates import make_estimate
from nasi_ray.nasi.estimator import Estimate
from nasi_ray.search.run import Run
from nasi_ray.spaces import TabularArchitecture
from nasi_ray.tables.accuracies import Accuracies, open_accuracies

COUNTS = (1, 5, 10, 20)


class Judge:
    """Validation and test accuracies of a space's cells, in percent."""

    def __init__(self, space: str, table: str) -> None:
        self.valid: Accuracies = open_validation(space, table)
        self.test = open_accuracies(space, table)
        keys = self.test.space.keys()
        self.all_valid = 100 - self.valid.errors_percent(keys)
        self.all_test, self.all_params = (
            100 - self.test.errors_percent(keys),
            self.test.of_space()[1],
        )

    def answers(self, cells: Sequence[TabularArchitecture]) -> FloatArray:
        """Test accuracy of the answer among the first K cells, for each K of ``COUNTS``."""
        values = look_up(self.valid, cells)
        outcomes = [Outcome(valid_accuracy=value) for value in values]
        chosen = [cells[best_of(outcomes[:count]) or 0] for count in COUNTS]
        return 100 - self.test.errors_percent(chosen)

    def random(self, count: int) -> tuple[float, float]:
        """Mean and standard deviation of the answer among so many random cells, exactly.

        The cell with the i-th best validation accuracy of N is the answer if it is drawn and none
        of the better ones is: with probability C(N - i, K - 1) / C(N, K).
        """
        order, num = np.argsort(-self.all_valid, kind="stable"), len(self.all_valid)
        # Of equal validation accuracies any may be the answer.
        groups = np.cumsum(np.diff(self.all_valid[order], prepend=np.inf) != 0) - 1
        means = [
            np.bincount(groups, weights=self.all_test[order] ** power) / np.bincount(groups)
            for power in (1, 2)
        ]
        left, chance = 1.0, np.zeros(num)
        for i in range(num - count + 1):
            chance[i] = left * count / (num - i)
            left -= chance[i]
        first, second = (float(chance @ mean[groups]) for mean in means)
        return first, float(np.sqrt(max(0.0, second - first**2)))

    def largest(self) -> list[TabularArchitecture]:
        """The cells with most parameters, of equal ones the first of the space."""
        order = np.argsort(-self.all_params, kind="stable")
        return [self.test.space.architecture(int(i)) for i in order[: COUNTS[-1]]]


def main() -> None:
    """Print a table of all seeds, and one of each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", nargs="+", required=True, help="run directories of searches")
    parser.add_argument("--table", required=True, help="table, or directory of tables")
    parser.add_argument("--preset", default="nasi-panel", help="preset whose score ranks the cells")
    args = parser.parse_args()
    runs = [Run.open(uri) for uri in args.runs]
    if len(spaces := {run.space for run in runs}) > 1:
        parser.error(f"the runs are of spaces {', '.join(sorted(spaces))}; give those of one")
    judge, config = Judge(runs[0].space, args.table), get_preset(args.preset).estimate
    estimates = {
        int(run.settings["seed"]): make_estimate(
            run.records, judge.test.space, config, run.settings, num_draws=0
        )
        for run in runs
    }
    print("\n".join(tables(judge, estimates, config)))


def tables(judge: Judge, estimates: Mapping[int, Estimate], config: EstimateConfig) -> list[str]:
    """Lines of Markdown, from seed -> estimate."""

    def answers(results: Sequence[Estimate]) -> FloatArray:
        cells = best_cells(results, judge.test.space, config, COUNTS[-1])
        found: list[Any] = [cell.architecture for cell in cells]
        return judge.answers(found)

    found = np.array([answers([estimate]) for estimate in estimates.values()])
    together = answers(list(estimates.values()))
    largest = judge.answers(judge.largest())
    rows = [
        (
            f"{count}",
            _spread(found[:, i]),
            f"{together[i]:.2f}",
            f"{largest[i]:.2f}",
            "{:.2f} ± {:.2f}".format(*judge.random(count)),
            f"{(judge.valid.metric.epochs or 0) * (count if count > 1 else 0)}",
        )
        for i, count in enumerate(COUNTS)
    ]
    heads = ("K", "finalists: mean ± std (min to max)", "of the consensus", "most parameters")
    seeds = [
        (f"{seed}", *(f"{value:.2f}" for value in row))
        for seed, row in zip(estimates, found, strict=True)
    ]
    return [
        f"{judge.test.metric.column} of the cell chosen by {judge.valid.metric.column}, %; "
        f"{len(estimates)} seeds; the best of the space has {judge.all_test.max():.2f}:",
        "",
        *markdown_table((*heads, "random cells", "epochs"), rows),
        "",
        *markdown_table(("seed", *(f"K={count}" for count in COUNTS)), seeds),
    ]


def _spread(values: FloatArray) -> str:
    std = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{std} ({np.min(values):.2f} to {np.max(values):.2f})"


if __name__ == "__main__":
    main()
