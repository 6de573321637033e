from __future__ import annotations

import os
import pickle
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasi_ray.arrays import FloatArray
from nasi_ray.errors import InvalidGenotypeError
from nasi_ray.spaces.graph import (
    CONV1X1,
    CONV3X3,
    INPUT,
    MAXPOOL3X3,
    OUTPUT,
    CellBatch,
    hash_cells,
    pruned_codes,
)
from nasi_ray.spaces.nb1shot1 import S1, S2, S3, NB1Shot1Architecture, NB1Shot1Space

SPACES = pytest.mark.parametrize("space", [S1, S2, S3], ids=lambda space: space.name)


def table_path(name: str) -> Path:
    default = Path(__file__).parents[2].parent / "shared" / "data"
    path = Path(os.environ.get("NASI_DATA", default)) / name
    if not path.exists():
        pytest.skip(f"{path} is not there; set NASI_DATA to the folder of the tables")
    return path


def logits(space: NB1Shot1Space, **best: list[int]) -> dict[str, FloatArray]:
    """Zeros but for the named decisions, whose given candidates rank first, in that order."""
    alpha = {d.name: np.zeros(d.size) for d in space.decisions}
    for name, candidates in best.items():
        for rank, candidate in enumerate(candidates):
            alpha[name.replace("_", "/")][candidate] = 10.0 - rank
    return alpha


@pytest.mark.parametrize(
    ("space", "rows", "distinct_pruned", "distinct_hashes"),
    [
        pytest.param(S1, 14_580, 3_288, 2_685, id="s1"),
        pytest.param(S2, 29_160, 11_826, 7_773, id="s2"),
        pytest.param(S3, 1_312_200, 118_524, 55_854, id="s3", marks=pytest.mark.slow),
    ],
)
def test_counts_of_configurations_and_architectures(
    space: NB1Shot1Space, rows: int, distinct_pruned: int, distinct_hashes: int
) -> None:
    batch = space.all_architectures()
    assert space.num_architectures == len(batch) == rows
    assert len(np.unique(pruned_codes(batch))) == distinct_pruned
    assert len({row.tobytes() for row in space.hashes()}) == distinct_hashes


@pytest.mark.parametrize("space", [S1, S2], ids=lambda space: space.name)
def test_order_strings_and_hashes_are_those_of_the_table(space: NB1Shot1Space) -> None:
    table = pq.read_table(table_path(f"nasbench1shot1_{space.name}.parquet"))
    assert [a.parents_string for a in space] == table["parents"].to_pylist()
    assert [a.ops_string for a in space] == table["ops"].to_pylist()
    assert [row.tobytes() for row in space.hashes()] == table["hash"].to_pylist()


@SPACES
def test_iterator_positions_and_arrays_agree(space: NB1Shot1Space) -> None:
    batch = space.all_architectures()
    first = list(islice(space, 2000))
    assert [space.architecture(i) for i in range(2000)] == first
    for i in np.random.default_rng(0).integers(len(batch), size=300).tolist():
        architecture = space.architecture(i)
        masks = [sum(1 << u for u in sources) for sources in architecture.parents]
        assert batch.parents[i].tolist() == [0, *masks]
        assert [(CONV3X3, CONV1X1, MAXPOOL3X3)[op] for op in batch.ops[i]] == [*architecture.ops]
        assert space.index(architecture) == i


@SPACES
def test_hash_of_a_configuration_agrees_with_the_arrays(space: NB1Shot1Space) -> None:
    batch = space.all_architectures()
    picked = np.random.default_rng(0).integers(len(batch), size=100)
    hashes = hash_cells(CellBatch(batch.parents[picked], batch.ops[picked]))
    for i, row in zip(picked.tolist(), hashes, strict=True):
        assert space.architecture(i).hash() == row.tobytes().hex()


@given(space=st.sampled_from([S1, S2, S3]), data=st.data())
def test_string_round_trip(space: NB1Shot1Space, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, space.num_architectures - 1))
    architecture = space.architecture(index)
    assert space.parse(architecture.to_string()) == architecture
    columns = architecture.parents_string, architecture.ops_string
    assert NB1Shot1Architecture.from_columns(*columns) == architecture


def test_notation_is_the_tables() -> None:
    architecture = NB1Shot1Architecture(
        ((0,), (0, 1), (0, 2), (1, 3), (3, 4)), (CONV3X3, CONV1X1, MAXPOOL3X3, CONV3X3)
    )
    assert architecture.to_string() == "0;0,1;0,2;1,3;3,4|3,1,m,3"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not in the table's notation"),
        ("0;0,1;0,1;0,1;0,1", "not in the table's notation"),
        ("0;0,1;0,1;0,1;0,1|31m3", "not in the table's notation"),
        ("0;0,1;0,1;0,1;0,1|3,1,m,5", "not in the table's notation"),
        ("0;0,x;0,1;0,1;0,1|3,1,m,3", "not in the table's notation"),
        ("0;0,1;0,1;0,1|3,1,m,3", "4 operations with 4 parent sets"),
        ("0;0, 1;0,1;0,1;0,1|3,1,m,3", "not in the table's notation"),
        ("0;0,01;0,1;0,1;0,1|3,1,m,3", "not in the table's notation"),
        ("0;0,2;0,1;0,1;0,1|3,1,m,3", "node 2 has parents 0,2"),
        ("0;0,1;1,0;0,1;0,1|3,1,m,3", "node 3 has parents 1,0"),
        ("0;0,1;1,1;0,1;0,1|3,1,m,3", "node 3 has parents 1,1"),
        ("0;0,1;-1,1;0,1;0,1|3,1,m,3", "node 3 has parents -1,1"),
        ("0;0;0,1;0,1;0,1,2|3,1,m,3", r"s1 needs \(1, 2, 2, 2, 2\)"),
    ],
)
def test_strings_of_no_architecture_are_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(InvalidGenotypeError, match=reason) as caught:
        S1.parse(text)
    assert "\n" not in str(caught.value)


def test_unknown_operation_is_refused() -> None:
    with pytest.raises(InvalidGenotypeError, match="unknown operation 'conv5x5'"):
        NB1Shot1Architecture(((0,), (0,)), ("conv5x5",))


@SPACES
def test_position_outside_the_space_is_refused(space: NB1Shot1Space) -> None:
    for index in (-1, space.num_architectures):
        with pytest.raises(IndexError, match=f"{space.name} has no architecture number {index};"):
            space.architecture(index)


@pytest.mark.parametrize(("space", "num_logits"), [(S1, 26), (S2, 26), (S3, 35)])
def test_every_choice_has_a_decision_except_block_1s_parents(
    space: NB1Shot1Space, num_logits: int
) -> None:
    assert space.num_logits == num_logits
    by_name = {d.name: d for d in space.decisions}
    assert "block1/parents" not in by_name
    assert by_name["block1/op"].candidates == (CONV3X3, CONV1X1, MAXPOOL3X3)
    assert by_name["block2/parents"].candidates == ("input", "block1")
    chosen = [by_name[f"block{i}/parents"].num_chosen for i in range(2, space.num_blocks + 1)]
    assert (1, *chosen, by_name["output/parents"].num_chosen) == space.num_parents
    assert [*space.cell_types["cell"]] == [*range(len(space.decisions))]


def test_selection_takes_the_best_operations_and_k_best_parents() -> None:
    alpha = logits(
        S2,
        block1_op=[2],
        block2_op=[1],
        block2_parents=[1],
        block3_parents=[2, 0],
        output_parents=[4, 0, 3],
    )
    assert S2.select(alpha).to_string() == "0;1;0,2;0,1;0,3,4|m,1,3,3"


@SPACES
def test_selection_is_of_the_space_and_ties_go_to_the_first(space: NB1Shot1Space) -> None:
    selected = space.select(logits(space), pairing="rank")
    assert space.index(selected) == 0
    alpha = space.split(np.random.default_rng(1).normal(size=space.num_logits))
    space.check(space.select(alpha))


@SPACES
def test_random_is_reproducible_and_reaches_the_whole_space(space: NB1Shot1Space) -> None:
    draws = [space.random(np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert draws[0] == draws[1] != draws[2]
    generator = np.random.default_rng(5)
    indices = np.array([space.index(space.random(generator)) for _ in range(2000)])
    counts = np.histogram(indices, bins=4, range=(0, space.num_architectures))[0]
    assert counts.sum() == 2000
    assert counts.min() > 400


def test_smaller_cells_are_widened_to_seven_vertices() -> None:
    architecture = S1.parse("0;0,1;0,1;0,1;3,4|3,1,m,3")
    matrix = architecture.matrix()
    assert architecture.vertex_ops() == (
        INPUT,
        CONV3X3,
        CONV1X1,
        MAXPOOL3X3,
        CONV3X3,
        CONV1X1,
        OUTPUT,
    )
    assert np.flatnonzero(matrix[:, 6]).tolist() == [3, 4]
    assert not matrix[5].any()
    assert not matrix[:, 5].any()
    assert matrix.sum() == sum(S1.num_parents)


def test_parameters_of_a_chain_by_hand() -> None:
    architecture = NB1Shot1Architecture(((0,), (1,)), (CONV1X1,))

    def conv(narrow: int, wide: int) -> int:
        return narrow * wide + 2 * wide

    expected, width = 3 * 9 * 128 + 256 + 512 * 10 + 10, 128
    for wide in (128, 256, 512):
        for _ in range(3):
            expected += conv(width, wide) + conv(wide, wide)
            width = wide
    assert architecture.num_params() == expected


@SPACES
def test_spaces_survive_pickling(space: NB1Shot1Space) -> None:
    copy = pickle.loads(pickle.dumps(space))
    assert copy.decisions == space.decisions
    assert copy.architecture(7) == space.architecture(7)
