"""The score-function estimate of a sweep's objective, from the records of searches.

    python benchmarks/score_function.py --table TABLES runs/study/runs/true-nb201-*

With R_t = −(rank of e_t − ½)² and h_t the choices of sample t, Σ_t (R_t − R̄)(h_t − h̄) is the
gradient of E[R] at α0 = 0 without the straight-through approximation, up to a factor a decision.
The script says which cells it selects beside those of the straight-through gradient (``--preset
nasi-ntk``).
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from scipy.stats import rankdata

from nasi_ray import estimate, read_run
from nasi_ray.arrays import FloatArray
from nasi_ray.config import get_preset
from nasi_ray.records.rows import SampleTable
from nasi_ray.spaces import TabularSpace
from nasi_ray.spaces.options import chosen_candidates
from nasi_ray.tables.accuracies import Accuracies, open_accuracies


def score_function_alpha(table: SampleTable, space: TabularSpace[Any]) -> FloatArray:
    """Σ_t (R_t − R̄)(h_t − h̄)/T over the good samples, in units of the spread of h."""
    chosen = chosen_candidates(table.choices[table.ok], space)
    reward = -((rankdata(table.trace_norm[table.ok]) / table.ok.sum() - 0.5) ** 2)
    centred = chosen - chosen.mean(axis=0)
    alpha: FloatArray = (reward - reward.mean()) @ centred / len(reward)
    spread = centred.std(axis=0)
    alpha[spread > 0] /= spread[spread > 0]
    return alpha


def _error(alpha: FloatArray, accuracies: Accuracies) -> float:
    space = accuracies.space
    return float(accuracies.errors_percent([space.select(space.split(alpha))])[0])


def main() -> None:
    """Print a line a run, and the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="run directories of searches of one space")
    parser.add_argument("--table", required=True, help="table, or directory of tables")
    args = parser.parse_args()
    errors = []
    for run in args.runs:
        table, name = read_run(run)
        accuracies = open_accuracies(name, args.table, "")
        straight = estimate(table, get_preset("nasi-ntk").estimate).alpha
        score = score_function_alpha(table, accuracies.space)
        errors.append((_error(straight, accuracies), _error(score, accuracies)))
        print(
            f"{run}: straight-through {errors[-1][0]:.2f} %, score function {errors[-1][1]:.2f} %"
        )
    for column, label in zip(
        np.array(errors).T, ("straight-through", "score function"), strict=True
    ):
        spread = column.std(ddof=1) if len(column) > 1 else float("nan")
        print(f"{label}: {column.mean():.2f} ± {spread:.2f} % (n = {len(column)})")


if __name__ == "__main__":
    main()
