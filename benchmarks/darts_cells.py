"""The cells of docs/study/darts.md, one a line, for ``nasi-ray train --genotypes``.

    python -m benchmarks.darts_cells --selected fix-0=runs/fix-0/genotype.json ... > cells.txt
    python -m benchmarks.darts_cells --selected ... --accuracies runs/cells/accuracies.parquet

DARTS_V1, DARTS_V2 (Liu et al. 2019), the cell of ``sep_conv_5x5`` only, random cells, and the
selected ones, in this order. With accuracies: where those that are not random stand among the
random ones, as a table in Markdown, and how much two seeds of the same cell differ. With
``--other``, a table of the same cells trained in another way: how far the two rankings agree.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nasi_ray.display.tables import markdown_table
from nasi_ray.spaces.genotype import DARTS_OPS, NUM_INPUT_NODES, Edge, Genotype
from nasi_ray.statistics import Correlation, rank_correlations

NUM_NODES = 4
CONCAT = tuple(range(NUM_INPUT_NODES, NUM_INPUT_NODES + NUM_NODES))

DARTS_V1 = """Genotype(
    normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1),
            ('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)],
    normal_concat=[2, 3, 4, 5],
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0),
            ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)],
    reduce_concat=[2, 3, 4, 5])"""
DARTS_V2 = """Genotype(
    normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
            ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)],
    normal_concat=range(2, 6),
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1),
            ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)],
    reduce_concat=range(2, 6))"""


def main() -> None:
    """Print the list, or the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-random", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--selected", nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--accuracies", help="table that nasi-ray train --genotypes left")
    parser.add_argument("--other", help="table of the same cells, trained in another way")
    args = parser.parse_args()
    generator = random.Random(args.seed)
    drawn = [random_cell(generator) for _ in range(args.num_random)]
    named = {
        "DARTS_V1": Genotype.parse(DARTS_V1),
        "DARTS_V2": Genotype.parse(DARTS_V2),
        "all `sep_conv_5x5`": _cell(lambda: "sep_conv_5x5"),
    }
    first = list(named.values())
    for pair in args.selected:
        name, _, path = pair.partition("=")
        named[name] = Genotype.parse(Path(path).read_text())
    if args.accuracies is None:
        cells = [*first, *drawn, *list(named.values())[len(first) :]]
        print("\n".join(cell.key for cell in cells))
        return
    table = pq.read_table(args.accuracies)
    top1 = _top1(table)
    size = dict(zip(table["genotype"].to_pylist(), table["parameters"].to_pylist(), strict=True))
    print("\n".join(standing(named, drawn, {k: v[0] for k, v in top1.items()}, size)))
    print(noise([values for values in top1.values() if len(values) > 1]))
    if args.other is not None:
        other = {k: v[0] for k, v in _top1(pq.read_table(args.other)).items()}
        both = [cell.to_json() for cell in drawn if cell.to_json() in {*top1} & {*other}]
        print(agreement([top1[key][0] for key in both], [other[key] for key in both]))


def _top1(table: pa.Table) -> dict[str, list[float]]:
    (column,) = (name for name in table.column_names if "accuracy" in name)
    return dict(zip(table["genotype"].to_pylist(), table[column].to_pylist(), strict=True))


def noise(seeds: Sequence[Sequence[float]]) -> str:
    """How much trainings of one cell differ, in a sentence.

    Args:
        seeds: Of each cell that was trained at least twice, the accuracies in percent.
    """
    if len(seeds) < 3:
        return "Too few cells were trained twice to know the noise."
    one, two = ([values[i] for values in seeds] for i in (0, 1))
    # Of the difference of two independent trainings the variance is twice that of one.
    std = math.sqrt(statistics.fmean((a - b) ** 2 for a, b in zip(one, two, strict=True)) / 2)
    found = rank_correlations(np.array(one), np.array(two))[0]
    return (
        f"{len(seeds)} cells with two seeds: standard deviation of one training {std:.2f} points, "
        f"of the cells {statistics.stdev(one):.2f}; rank correlation of the seeds {_text(found)}."
    )


def agreement(one: Sequence[float], other: Sequence[float]) -> str:
    """How far two rankings of the same cells agree, in a sentence.

    Args:
        one: Accuracies of the cells.
        other: Theirs after the other training.
    """
    found = rank_correlations(np.array(one), np.array(other))[0]
    quartiles = statistics.quantiles(other, n=4, method="inclusive")
    summary = ", ".join(f"{x:.2f}" for x in (min(other), *quartiles, max(other)))
    return (
        f"{len(other)} random cells trained in the other way: least, quartiles and largest top-1 "
        f"{summary}; rank correlation with the first way {_text(found)}."
    )


def _text(found: Correlation) -> str:
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def standing(
    named: Mapping[str, Genotype],
    drawn: Sequence[Genotype],
    top1: Mapping[str, float],
    size: Mapping[str, int],
) -> list[str]:
    """Where cells stand among random ones.

    Args:
        named: Name -> cell.
        drawn: The random cells; those without an accuracy are left out.
        top1: ``Genotype.to_json`` -> accuracy in percent.
        size: The same -> parameters.
    """
    random_ones = sorted(top1[key] for cell in drawn if (key := cell.to_json()) in top1)
    quartiles = statistics.quantiles(random_ones, n=4, method="inclusive")
    summary = ", ".join(f"{x:.2f}" for x in (random_ones[0], *quartiles, random_ones[-1]))
    rows = [
        (name, f"{size[key]:,}", f"{top1[key]:.2f}", f"{_share_below(random_ones, top1[key]):.0%}")
        for name, cell in named.items()
        if (key := cell.to_json()) in top1
    ]
    return [
        *markdown_table(("cell", "parameters", "top-1, %", "of the random cells are worse"), rows),
        "",
        f"{len(random_ones)} random cells: least, quartiles and largest top-1 {summary}.",
    ]


def _share_below(values: Sequence[float], value: float) -> float:
    return sum(other < value for other in values) / len(values)


def random_cell(generator: random.Random) -> Genotype:
    """A uniform draw: of each node's pair of inputs, and of each operation."""
    return _cell(lambda: generator.choice(DARTS_OPS), generator)


def _cell(operation: Callable[[], str], generator: random.Random | None = None) -> Genotype:
    def edges() -> tuple[Edge, ...]:
        found: list[Edge] = []
        for node in range(NUM_NODES):
            inputs = range(NUM_INPUT_NODES + node)
            pair = sorted(generator.sample(inputs, 2)) if generator else inputs[:2]
            found += [(operation(), source) for source in pair]
        return tuple(found)

    return Genotype(normal=edges(), normal_concat=CONCAT, reduce=edges(), reduce_concat=CONCAT)


if __name__ == "__main__":
    main()
