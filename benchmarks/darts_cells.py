"""The cells of docs/study/darts.md, one a line, for ``nasi-ray train --genotypes``.

    python -m benchmarks.darts_cells --selected runs/fix/genotype.json ... > cells.txt

DARTS_V1, DARTS_V2 (Liu et al. 2019), the cell of ``sep_conv_5x5`` only, random cells, and the
selected ones, in this order.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from pathlib import Path

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
    """Print the list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-random", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--selected", nargs="*", default=[], help="files of cells")
    args = parser.parse_args()
    generator = random.Random(args.seed)
    cells = [Genotype.parse(DARTS_V1), Genotype.parse(DARTS_V2), _cell(lambda: "sep_conv_5x5")]
    cells += [random_cell(generator) for _ in range(args.num_random)]
    cells += [Genotype.parse(Path(path).read_text()) for path in args.selected]
    print("\n".join(cell.key for cell in cells))


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
