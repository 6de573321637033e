"""Estimators, numbers of samples and terms side by side, from the records of the same searches.

    python benchmarks/estimates.py --table TABLES runs/est/*

The runs are of spaces with a table, as made by
``nasi-ray search --preset nasi-ntk --measure naswot --space s1 --seed 0 --num-samples 800``: they
hold e with its gradient and what one pass tells of the same samples. What a run does not hold is
left out. Prints Markdown (``docs/study/estimates.md``).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nasi_ray.config import PATH, EstimateConfig, get_preset
from nasi_ray.display.tables import markdown_table
from nasi_ray.nasi.estimates import architecture_of, make_estimate
from nasi_ray.nasi.objectives import OBJECTIVES
from nasi_ray.records.reader import identity_of, read_records
from nasi_ray.records.rows import SearchRecords
from nasi_ray.storage import open_storage
from nasi_ray.tables.accuracies import Accuracies, open_accuracies

Searches = Sequence[tuple[int, SearchRecords]]
"""Seed and records of each search of a space."""
Configs = Mapping[str, EstimateConfig]
Errors = Callable[[EstimateConfig], str]

NUM_SAMPLES = (50, 100, 200, 400, 800)
PRESETS = ("nasi-panel", "nasi-balanced", "nasi-relative", "nasi-ntk")


def main() -> None:
    """Print three tables for each space."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="run directories of searches")
    parser.add_argument("--table", required=True, help="table, or directory of tables")
    args = parser.parse_args()
    by_space: dict[str, list[tuple[int, SearchRecords]]] = {}
    for run in sorted(args.runs):
        identity = identity_of(open_storage(run), "samples")[0]
        pair = int(str(identity["seed"])), read_records(run)
        by_space.setdefault(str(identity["space"]), []).append(pair)
    for space, searches in by_space.items():
        accuracies = open_accuracies(space, args.table)
        title = f"## {space}: test error, %, mean ± standard deviation (worst) of {len(searches)}"
        print("\n".join([f"{title} seeds", "", *tables(searches, accuracies)]))


def tables(searches: Searches, accuracies: Accuracies) -> list[str]:
    """The three tables of a space."""

    def errors(config: EstimateConfig) -> str:
        return over_seeds(searches, accuracies, config)

    lines = []
    for heading, configs in (
        ("estimator", estimators()),
        ("left out", without_a_term()),
    ):
        rows = [(name, errors(config)) for name, config in configs.items()]
        lines += [*markdown_table((heading, "error"), rows), ""]
    columns = [[f"{n}" for n in NUM_SAMPLES]]
    for preset in PRESETS:
        config = get_preset(preset).estimate
        columns.append([errors(dataclasses.replace(config, num_samples=n)) for n in NUM_SAMPLES])
    return [*lines, *markdown_table(("T", *PRESETS), zip(*columns, strict=True)), ""]


def estimators() -> Configs:
    """Every estimator on the paper's objective, and both orders on the others."""
    paper = dataclasses.replace(get_preset("nasi-ntk").estimate, num_samples=NUM_SAMPLES[-1])
    names: Any = ("straight-through", "reinmax", "gumbel-rao", "score-function", "second-order")
    found = {f"trace-norm, {n}": dataclasses.replace(paper, estimator=n) for n in names}
    for objective in ("panel", "balanced", "relative"):
        base = get_preset(f"nasi-{objective}").estimate
        for name in names[3:]:
            found[f"{objective}, {name}"] = dataclasses.replace(base, estimator=name)
    return found


def without_a_term() -> Configs:
    """Panel and balanced with each term left out."""
    found = {}
    for name in ("panel", "balanced"):
        whole, config = OBJECTIVES[name], get_preset(f"nasi-{name}").estimate
        found[f"{name}: nothing"] = config
        variants = {
            term: dataclasses.replace(
                whole, terms={t: sign for t, sign in whole.terms.items() if t != term}
            )
            for term in whole.terms
        }
        variants["parameters"] = dataclasses.replace(whole, has_num_params=False)
        for term, objective in variants.items():
            label: Any = f"{name}: {term}"
            OBJECTIVES[label] = objective
            found[label] = dataclasses.replace(config, objective=label)
    return found


def over_seeds(searches: Searches, accuracies: Accuracies, config: EstimateConfig) -> str:
    """Mean ± standard deviation (worst) of the selected cells' errors; empty without records."""
    cells: list[Any] = []
    for seed, records in searches:
        has_records = records.samples if config.needs_gradient else records.measurements.get(PATH)
        if has_records is None:
            return ""
        settings = {"seed": seed, "temperature": 1.0}
        found = make_estimate(records, accuracies.space, config, settings, num_draws=0)
        cells.append(architecture_of(found, accuracies.space, config))
    errors = accuracies.errors_percent(cells)
    spread = f" ± {np.std(errors, ddof=1):.2f}" if len(errors) > 1 else ""
    return f"{np.mean(errors):.2f}{spread} ({np.max(errors):.2f})"


if __name__ == "__main__":
    main()
