"""Sizes in closed form; ``tests/networks/test_genotype_network.py`` compares with networks."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas
import pytest

from nasi_ray.errors import ConfigError, UnknownNameError
from nasi_ray.spaces.final_network import NETWORKS, final_network
from nasi_ray.spaces.genotype import DARTS_OPS, GENOTYPE_OPS, Genotype
from nasi_ray.spaces.network_costs import costs_of, multiply_adds, num_params, operation_costs
from tests.spaces.cells import DARTS_V1, DARTS_V2, random_genotype

V1, V2 = Genotype.parse(DARTS_V1), Genotype.parse(DARTS_V2)


def test_published_cells_have_the_published_number_of_parameters() -> None:
    assert V1.num_params() == num_params(V1) == 3_169_414
    assert num_params(V2, init_channels=36, num_cells=20) == 3_349_342
    assert num_params(V2, "imagenet", init_channels=48, num_cells=14) == 4_718_752
    assert num_params(V2, auxiliary=True) - num_params(V2) == 476_426


def test_cells_of_a_file_have_the_parameters_it_states(data_dir: Path) -> None:
    path = data_dir / "darts/darts_published_cells.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    table = pandas.read_parquet(path)
    rows = table[table["params_agree"] == True].to_dict("records")  # noqa: E712
    assert len(rows) > 20
    for row in rows:
        cell = Genotype.parse(row["genotype"])
        on_cifar = num_params(cell, init_channels=row["init_channels"], num_cells=row["cells"])
        assert on_cifar == row["params_computed"]
        on_imagenet = num_params(cell, "imagenet", init_channels=48)
        assert on_imagenet == row["imagenet_params_computed"]


def test_a_thousand_random_cells_have_the_parameters_of_their_file(data_dir: Path) -> None:
    path = data_dir / "darts/darts_swap1000_cifar10.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    table = pandas.read_parquet(path, columns=["genotype", "params_c16_l8"])
    cells = map(Genotype.parse, table["genotype"])
    counts = [num_params(cell, init_channels=16, num_cells=8) for cell in cells]
    assert counts == table["params_c16_l8"].tolist()


def test_the_cell_of_the_paper_on_imagenet_stays_under_its_limit() -> None:
    assert 400e6 < multiply_adds(V2, "imagenet") < 600e6
    assert multiply_adds(V2, "imagenet") < multiply_adds(V2, "imagenet", init_channels=48)


def test_a_table_sums_the_costs_of_many_cells_at_once() -> None:
    """As a search would: cells of one operation a node, both inputs, in arrays."""
    costs = operation_costs(final_network("cifar100", init_channels=7, num_cells=5))
    rng = np.random.default_rng(0)
    ops = rng.integers(1, len(GENOTYPE_OPS), size=(40, 2, 8))
    sources = np.stack([rng.integers(2 + i // 2, size=(40, 2)) for i in range(8)], axis=-1)
    types = np.arange(2)[None, :, None]
    params, macs = (
        base + table[types, (sources >= 2).astype(int), ops].sum(axis=(1, 2))
        for base, table in zip(costs.base, (costs.params, costs.multiply_adds), strict=True)
    )
    for i in range(40):
        normal, reduce = (
            tuple(
                (GENOTYPE_OPS[op], int(s)) for op, s in zip(ops[i, t], sources[i, t], strict=True)
            )
            for t in range(2)
        )
        concat = (2, 3, 4, 5)
        cell = Genotype(normal=normal, normal_concat=concat, reduce=reduce, reduce_concat=concat)
        assert params[i] == num_params(cell, "cifar100", init_channels=7, num_cells=5)
        assert macs[i] == multiply_adds(cell, "cifar100", init_channels=7, num_cells=5)


def test_operations_without_convolutions_cost_something_only_where_a_skip_halves() -> None:
    costs = operation_costs()
    free = [GENOTYPE_OPS.index(op) for op in ("none", "max_pool_3x3", "avg_pool_3x3")]
    assert not costs.params[..., free].any()
    skip = GENOTYPE_OPS.index("skip_connect")
    for table in (costs.params, costs.multiply_adds):
        assert (table[:, :, skip] > 0).tolist() == [[False, False], [True, False]]
    convolutions = [i for i, op in enumerate(GENOTYPE_OPS) if "conv" in op]
    assert (costs.multiply_adds[..., convolutions] > 0).all()
    assert len(DARTS_OPS) == 7
    with pytest.raises(ValueError, match="read-only"):
        costs.params[0, 0, 0] = 1


def test_size_grows_with_channels_and_cells() -> None:
    generator = random.Random(3)
    for _ in range(20):
        cell = random_genotype(generator)
        for name in NETWORKS:
            totals = [
                costs_of(cell, final_network(name, init_channels=c, num_cells=5)).total(cell)
                for c in (2, 3, 4, 9, 20)
            ]
            assert all(a < b for a, b in pairwise(totals))
        assert num_params(cell, num_cells=5) < num_params(cell, num_cells=6)


@pytest.mark.parametrize(
    ("name", "number", "allowed"),
    [
        ("init_channels", 0, "1 to 4096"),
        ("init_channels", 4097, "1 to 4096"),
        ("num_cells", 0, "1 to 1000"),
        ("num_classes", 0, "1 to 1000000"),
        ("image_size", 0, "1 to 100000"),
    ],
)
def test_numbers_out_of_range_are_named(name: str, number: int, allowed: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is {number}; it must be {allowed}$"):
        final_network(**{name: number})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="init_channels is 1; it must be 2"):
        final_network("imagenet", init_channels=1)
    with pytest.raises(UnknownNameError, match="unknown network 'svhn'; choose one of cifar10"):
        final_network("svhn")
