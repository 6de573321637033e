"""The cells of docs/study/darts.md, one a line, for ``nasi-ray train --genotypes``.

    python -m benchmarks.darts_cells --selected fix-0=runs/fix-0/genotype.json ... > cells.txt
    python -m benchmarks.darts_cells --selected ... --accuracies runs/cells/accuracies.parquet

DARTS_V1, DARTS_V2 (Liu et al. 2019), the cell of ``sep_conv_5x5`` only, random cells, and the
selected ones, in this order. With accuracies: where those that are not random stand among the
random ones, as a table in Markdown.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from nasi_ray.display.tables import markdown_table
from nasi_ray.spaces.genotype import DARTS_OPS, NUM_INPUT_NODES, Edge, Genotype

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
    (column,) = (name for name in table.column_names if "accuracy" in name)
    top1 = dict(zip(table["genotype"].to_pylist(), table[column].to_pylist(), strict=True))
    size = dict(zip(table["genotype"].to_pylist(), table["parameters"].to_pylist(), strict=True))
    print("\n".join(standing(named, drawn, {k: sum(v) / len(v) for k, v in top1.items()}, size)))


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
