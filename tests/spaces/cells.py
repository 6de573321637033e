"""Cells of the literature, and random ones."""

from __future__ import annotations

import random

from nasi_ray.spaces.genotype import GENOTYPE_OPS, Genotype

DARTS_V1 = """DARTS_V1 = Genotype(
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


def random_genotype(generator: random.Random, *, max_nodes: int = 5) -> Genotype:
    """A cell of DARTS's whole list of operations, of any number of nodes."""

    def cell() -> tuple[tuple[tuple[str, int], ...], tuple[int, ...]]:
        num_nodes = generator.randint(1, max_nodes)
        edges = tuple(
            (generator.choice(GENOTYPE_OPS), generator.randrange(2 + node))
            for node in range(num_nodes)
            for _ in range(2)
        )
        concat = generator.sample(range(2, 2 + num_nodes), generator.randint(1, num_nodes))
        return edges, tuple(sorted(concat))

    (normal, normal_concat), (reduce, reduce_concat) = cell(), cell()
    return Genotype(
        normal=normal, normal_concat=normal_concat, reduce=reduce, reduce_concat=reduce_concat
    )
