"""Objectives: ranks, signs, logarithms and what is not defined."""

from __future__ import annotations

import numpy as np
import pytest

from nasi_ray.arrays import FloatArray
from nasi_ray.config import PATH_MEASUREMENTS
from nasi_ray.errors import UnknownNameError
from nasi_ray.nasi.objectives import OBJECTIVES, Objective, get_objective, rewards

NAN = np.nan


def reward_of(name: str, sign: float, column: list[float], scale: str = "rank") -> FloatArray:
    objective = Objective(terms={name: sign}, scale=scale)
    found: FloatArray = rewards(objective, {name: np.array(column)})[:, 0]
    return found


def test_ranks_are_shares_and_ties_share_the_average() -> None:
    found = reward_of("naswot", 1.0, [5.0, 1.0, 5.0, 9.0])
    assert found.tolist() == [2.5 / 5, 1 / 5, 2.5 / 5, 4 / 5]


def test_a_wanted_small_value_ranks_high() -> None:
    assert reward_of("naswot", -1.0, [5.0, 1.0, 9.0]).tolist() == [2 / 4, 3 / 4, 1 / 4]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_is_not_defined_ties_for_the_last_place(sign: float) -> None:
    found = reward_of("naswot", sign, [NAN, 3.0, NAN, 4.0])
    assert found[[0, 2]].tolist() == [1.5 / 5, 1.5 / 5]
    assert (found[[1, 3]] > 0.5).all()


@pytest.mark.parametrize("sign", [2.0, -1.0])
def test_logarithms_have_a_weight_and_the_lowest_stands_for_the_unknown(sign: float) -> None:
    found = reward_of("path_params", sign, [1.0, np.e, NAN, 0.0, np.e**2], "log")
    known = sign * np.array([0.0, 1.0, 2.0])
    np.testing.assert_allclose(found[[0, 1, 4]], known, atol=1e-12)
    assert found[[2, 3]] == pytest.approx([known.min()] * 2)


@pytest.mark.parametrize("scale", ["rank", "log"])
def test_values_that_are_all_unknown_are_all_the_same(scale: str) -> None:
    found = reward_of("naswot", 1.0, [NAN, NAN, NAN], scale)
    assert np.isfinite(found).all()
    assert len(set(found.tolist())) == 1


def test_the_scale_free_trace_norm_is_a_ratio() -> None:
    objective = Objective(terms={"scale_free_trace_norm": 1.0})
    assert objective.measurements == ("relative_trace_norm", "logit_variance")
    values = {
        "relative_trace_norm": np.array([4.0, 6.0, NAN]),
        "logit_variance": np.array([1.0, 3.0, NAN]),
    }
    assert rewards(objective, values)[:, 0].tolist() == [3 / 4, 2 / 4, 1 / 4]


def test_joint_terms_are_added_and_others_stand_apart() -> None:
    rng = np.random.default_rng(0)
    values = {name: rng.lognormal(size=30) for name in PATH_MEASUREMENTS}
    for name, objective in OBJECTIVES.items():
        found = rewards(objective, values)
        assert found.shape == (30, 1 if objective.is_joint else len(objective.terms)), name
        assert set(objective.measurements) <= set(PATH_MEASUREMENTS)
    terms = {"naswot": 1.0, "path_params": -1.0}
    apart = rewards(Objective(terms=terms), values)
    joint = rewards(Objective(terms=terms, is_joint=True), values)
    assert joint[:, 0].tolist() == apart.sum(axis=1).tolist()


@pytest.mark.parametrize(
    ("objective", "measurement", "sign"),
    [
        ("panel", "naswot", 1),
        ("panel", "relative_trace_norm", -1),
        ("balanced", "logit_variance", -1),
        ("relative", "ntk_trace_estimate", -1),
        ("relative", "relative_trace_norm", 1),
        ("relative", "logit_variance", -1),
        ("size-relative", "path_params", 1),
        ("size-relative", "relative_trace_norm", -1),
        ("expressive", "naswot", 1),
        ("expressive", "relative_trace_norm", 1),
    ],
)
def test_each_term_has_the_sign_of_the_definition(
    objective: str, measurement: str, sign: int
) -> None:
    """A sample that is better in this measurement alone has the larger reward."""
    values = {name: np.array([2.0, 2.0, 2.0]) for name in PATH_MEASUREMENTS}
    values[measurement] = np.array([2.0, 2.0, 3.0])
    reward = rewards(OBJECTIVES[objective], values).sum(axis=1)
    assert np.sign(reward[2] - reward[0]) == sign
    assert reward[0] == reward[1]


def test_an_unknown_objective_is_named() -> None:
    with pytest.raises(UnknownNameError, match="unknown objective 'best'; choose one of"):
        get_objective("best")
    assert get_objective("panel") is OBJECTIVES["panel"]
