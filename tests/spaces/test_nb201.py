from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasi_ray.errors import InvalidGenotypeError
from nasi_ray.spaces.nb201 import EDGES, NB201, NB201_OPS, NB201Architecture

ARCH = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"


def table_path() -> Path:
    default = Path(__file__).parents[2].parent / "shared" / "data"
    path = Path(os.environ.get("NASI_DATA", default)) / "nasbench201.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not there; set NASI_DATA to the folder of the tables")
    return path


def test_string_has_the_operations_in_the_order_of_the_edges() -> None:
    ops = ("nor_conv_3x3", "none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "none")
    assert NB201Architecture.from_string(ARCH).ops == ops
    assert EDGES == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


@given(ops=st.tuples(*[st.sampled_from(NB201_OPS)] * 6))
def test_string_round_trip(ops: tuple[str, ...]) -> None:
    architecture = NB201Architecture(ops)
    assert NB201.parse(architecture.to_string()) == architecture


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not of the form"),
        (ARCH + "|", "not of the form"),
        (ARCH.replace("~2", "~1"), "not of the form"),
        (ARCH.replace("+", ""), "not of the form"),
        (ARCH.replace("avg_pool_3x3", "max_pool_3x3"), "unknown operation 'max_pool_3x3'"),
    ],
)
def test_strings_of_no_architecture_are_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidGenotypeError, match=reason):
        NB201.parse(text)


def test_wrong_number_of_operations_is_refused() -> None:
    with pytest.raises(InvalidGenotypeError, match="5 operations given; 6 are needed"):
        NB201Architecture(("none",) * 5)


def test_there_are_15625_cells_in_the_order_of_the_arrays() -> None:
    arrays = NB201.all_architectures()
    listed = list(NB201)
    assert NB201.num_architectures == len(listed) == len(set(listed)) == 15_625
    assert [tuple(NB201_OPS[op] for op in row) for row in arrays] == [a.ops for a in listed]
    for index in (0, 1, 4711, 15_624):
        assert NB201.architecture(index) == listed[index]
        assert NB201.index(listed[index]) == index


def test_position_outside_the_space_is_refused() -> None:
    for index in (-1, 15_625):
        with pytest.raises(
            IndexError, match=f"nb201 has no architecture number {index}; allowed: 0"
        ):
            NB201.architecture(index)


def test_strings_and_parameters_are_those_of_the_table() -> None:
    table = pq.read_table(table_path())
    strings = table["arch"].to_pylist()
    architectures = [NB201Architecture.from_string(text) for text in strings]
    assert [a.to_string() for a in architectures] == strings
    assert set(architectures) == set(NB201)
    assert [a.num_params() for a in architectures] == table["cifar10_params"].to_pylist()


def test_parameters_of_the_empty_cell() -> None:
    empty = NB201Architecture(("none",) * 6)
    assert empty.num_params() == 73_306
    assert empty.num_params(num_classes=100) == 73_306 + 90 * 65


def test_unconnected_cells_are_those_at_chance_in_the_table() -> None:
    table = pq.read_table(table_path())
    same = np.asarray(table["cifar10_test_accuracy_200ep"]) == np.asarray(
        table["cifar10_test_accuracy_12ep"]
    )
    connected = [NB201.parse(text).is_connected() for text in table["arch"].to_pylist()]
    assert np.array_equal(~same, connected)
    assert connected.count(False) == 341


def test_decisions_are_one_operation_per_edge() -> None:
    assert [d.name for d in NB201.decisions] == [f"edge{u}-{v}/op" for u, v in EDGES]
    assert all(d.candidates == NB201_OPS and d.num_chosen == 1 for d in NB201.decisions)
    assert NB201.num_logits == 30
    assert [*NB201.cell_types["cell"]] == [*range(6)]


def test_selection_takes_the_best_operations() -> None:
    alpha = np.zeros((6, 5))
    alpha[range(6), [3, 0, 1, 4, 2, 0]] = 1.0
    assert NB201.select(NB201.split(alpha.ravel())).to_string() == ARCH


def test_ties_go_to_the_first_operation() -> None:
    assert NB201.select(NB201.split(np.zeros(30)), pairing="rank").ops == ("none",) * 6


def test_random_is_reproducible_and_reaches_the_whole_space() -> None:
    draws = [NB201.random(np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert draws[0] == draws[1] != draws[2]
    generator = np.random.default_rng(5)
    seen = {NB201.random(generator).ops[edge] for _ in range(100) for edge in range(6)}
    assert seen == set(NB201_OPS)
