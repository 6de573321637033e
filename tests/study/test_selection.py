from __future__ import annotations

import math
from dataclasses import replace

import pytest

from nasi_ray.config import EstimateConfig
from nasi_ray.spaces.nb1shot1 import S1
from nasi_ray.study.selection import Selection, consensus, over_seeds, replay
from tests.study.cases import records, s1_accuracies, toward

FIX = EstimateConfig(num_samples=20, nu=100.0, mu=1.0)
WANTED = S1.architecture(9_000)


def a_selection(error: float, tied: tuple[str, ...] = ()) -> Selection:
    return Selection(
        architecture="x",
        error_percent=error,
        num_params=int(error),
        tied=tied,
        share_penalised=0.5,
    )


def test_a_replay_selects_what_the_gradients_point_to_and_its_error_is_the_tables() -> None:
    found = replay(records(20, grad=toward(WANTED)), FIX, s1_accuracies())
    assert found.architecture == WANTED.to_string()
    assert found.error_percent == pytest.approx(s1_accuracies().errors_percent([WANTED])[0])
    assert found.num_params == WANTED.num_params()
    assert not found.tied
    assert found.share_penalised == 0.0


def test_a_selection_of_zero_gradients_is_tied() -> None:
    """μ=1 and every e above ν: every G is zero and the order of the candidates would decide."""
    found = replay(records(20, e=lambda i: 200.0), FIX, s1_accuracies())
    free = {d.name for d in S1.decisions if d.size > d.num_chosen}
    assert set(found.tied) == free
    assert found.share_penalised == 1.0


def test_one_tie_is_enough_and_is_named() -> None:
    grad = toward(WANTED)
    where = S1.slices[[d.name for d in S1.decisions].index("block3/op")]
    grad[where] = 1.0
    found = replay(records(20, grad=grad), FIX, s1_accuracies())
    assert found.tied == ("block3/op",)


def test_a_decision_that_takes_all_candidates_is_never_a_tie() -> None:
    grad = toward(WANTED)
    where = S1.slices[[d.name for d in S1.decisions].index("block2/parents")]
    grad[where] = 1.0
    assert not replay(records(20, grad=grad), FIX, s1_accuracies()).tied


def test_tied_selections_do_not_count() -> None:
    found = over_seeds([a_selection(6.0), a_selection(8.0), a_selection(1.0, ("block1/op",))])
    assert (found.mean, found.std) == pytest.approx((7.0, math.sqrt(2)))
    assert (found.num, found.num_tied) == (2, 1)
    assert found.mean_num_params == 7.0


def test_means_of_nothing_are_nan() -> None:
    found = over_seeds([a_selection(1.0, ("block1/op",))])
    assert math.isnan(found.mean)
    assert math.isnan(found.std)
    assert math.isnan(found.mean_num_params)
    assert math.isnan(over_seeds([a_selection(6.0)]).std)


def test_the_consensus_is_selected_from_the_mean_alpha() -> None:
    # Two seeds agree, the third is outvoted.
    tables = [records(20, grad=toward(WANTED)) for _ in range(2)]
    other = S1.architecture(100)
    tables.append(records(20, grad=toward(other)))
    found = consensus(tables, FIX, s1_accuracies())
    assert found.architecture == WANTED.to_string()
    assert not found.tied


def test_only_the_first_samples_count() -> None:
    later = records(40, grad=toward(S1.architecture(100)))
    grad = later.grad.copy()
    grad[:20] = toward(WANTED)
    found = replay(replace(later, grad=grad), FIX, s1_accuracies())
    assert found.architecture == WANTED.to_string()
