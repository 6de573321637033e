from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from nasi_ray.arrays import FloatArray
from nasi_ray.errors import UnknownNameError
from nasi_ray.spaces import Genotype, get_space
from nasi_ray.spaces.darts import DartsSpace, input_names
from nasi_ray.spaces.genotype import DARTS_OPS
from tests.strategies import SEEDS

SPACE = DartsSpace()


def ranked(*best_first: tuple[str, ...]) -> dict[str, FloatArray]:
    """α = 0 but for the candidates named, of which the first is the best of its decision.

    Args:
        best_first: (decision, best candidate, second, ...).
    """
    alpha = {d.name: np.zeros(d.size) for d in SPACE.decisions}
    candidates = {d.name: d.candidates for d in SPACE.decisions}
    for name, *order in best_first:
        for rank, candidate in enumerate(order):
            alpha[name][candidates[name].index(candidate)] = len(order) - rank
    return alpha


def test_there_are_84_logits() -> None:
    assert SPACE.num_logits == 84
    assert [d.size for d in SPACE.decisions] == [7, 2, 7, 3, 7, 4, 7, 5] * 2
    assert all(d.num_chosen == 1 for d in SPACE.decisions)


def test_decisions_have_names_of_their_own() -> None:
    names = [d.name for d in SPACE.decisions]
    assert len(set(names)) == 16
    assert names[:3] == ["normal/node0/op", "normal/node0/input", "normal/node1/op"]
    assert names[-1] == "reduce/node3/input"


def test_candidates_are_the_operations_and_the_earlier_nodes() -> None:
    by_name = {d.name: d.candidates for d in SPACE.decisions}
    assert by_name["reduce/node2/op"] == DARTS_OPS
    assert by_name["normal/node0/input"] == ("c_{k-2}", "c_{k-1}")
    assert by_name["normal/node3/input"] == ("c_{k-2}", "c_{k-1}", "node0", "node1", "node2")
    assert input_names(1) == ("c_{k-2}", "c_{k-1}", "node0")


def test_every_decision_belongs_to_the_cell_of_its_name() -> None:
    for cell_type, decisions in SPACE.cell_types.items():
        assert len(decisions) == 8
        assert all(SPACE.decisions[d].name.startswith(f"{cell_type}/") for d in decisions)
    assert sorted(d for ds in SPACE.cell_types.values() for d in ds) == list(range(16))


def test_slices_cut_alpha_without_gap_or_overlap() -> None:
    alpha = np.arange(84.0)
    parts = SPACE.split(alpha)
    assert list(parts) == [d.name for d in SPACE.decisions]
    assert np.concatenate(list(parts.values())).tolist() == alpha.tolist()
    assert parts["normal/node0/input"].tolist() == [7.0, 8.0]


def test_rank_pairs_best_with_best_and_second_with_second() -> None:
    alpha = ranked(
        ("normal/node0/op", "sep_conv_5x5", "skip_connect"),
        ("normal/node0/input", "c_{k-1}", "c_{k-2}"),
        ("normal/node2/op", "dil_conv_3x3", "max_pool_3x3", "sep_conv_3x3"),
        ("normal/node2/input", "node1", "c_{k-2}"),
        ("reduce/node3/op", "dil_conv_5x5", "avg_pool_3x3"),
        ("reduce/node3/input", "node0", "node2"),
    )
    cell = SPACE.select(alpha, pairing="rank")
    assert cell.normal[0:2] == (("sep_conv_5x5", 1), ("skip_connect", 0))
    assert cell.normal[4:6] == (("dil_conv_3x3", 3), ("max_pool_3x3", 0))
    assert cell.reduce[6:8] == (("dil_conv_5x5", 2), ("avg_pool_3x3", 4))
    assert cell.normal_concat == cell.reduce_concat == (2, 3, 4, 5)
    assert SPACE.select(alpha) == cell


def test_shared_op_puts_the_best_operation_on_both_inputs() -> None:
    alpha = ranked(
        ("normal/node1/op", "sep_conv_3x3", "skip_connect"),
        ("normal/node1/input", "node0", "c_{k-2}"),
    )
    cell = SPACE.select(alpha, pairing="shared-op")
    assert cell.normal[2:4] == (("sep_conv_3x3", 2), ("sep_conv_3x3", 0))


@pytest.mark.parametrize("pairing", ["rank", "shared-op"])
def test_ties_go_to_the_candidate_that_comes_first(pairing: str) -> None:
    cell = SPACE.select(ranked(), pairing=pairing)
    second = "avg_pool_3x3" if pairing == "rank" else "max_pool_3x3"
    assert cell.normal == cell.reduce == (("max_pool_3x3", 0), (second, 1)) * 4
    # The best is above the tie, and the second is the first of those tied.
    cell = SPACE.select(ranked(("normal/node3/input", "node1")), pairing=pairing)
    assert [source for _, source in cell.normal[6:8]] == [3, 0]


@given(seed=SEEDS)
def test_any_alpha_selects_two_inputs_and_operations_per_node(seed: int) -> None:
    alpha = np.random.default_rng(seed).normal(size=84)
    by_rank = SPACE.select(SPACE.split(alpha), pairing="rank")
    shared = SPACE.select(SPACE.split(alpha), pairing="shared-op")
    for edges, other in ((by_rank.normal, shared.normal), (by_rank.reduce, shared.reduce)):
        for node in range(4):
            (op, source), (op2, source2) = edges[2 * node : 2 * node + 2]
            assert op != op2
            assert source != source2
            assert other[2 * node : 2 * node + 2] == ((op, source), (op, source2))
    assert Genotype.from_json(by_rank.to_json()) == by_rank


def test_unknown_names_are_errors_that_list_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown pairing 'best'; choose one of rank, shar"):
        SPACE.select(ranked(), pairing="best")
    with pytest.raises(UnknownNameError, match=r"unknown space 'dart'; choose one of .*darts"):
        get_space("dart")


def test_space_is_found_by_its_name() -> None:
    assert get_space("darts").name == SPACE.name == "darts"
