"""What a grid may say, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from nasi_ray.config import EstimateConfig
from nasi_ray.errors import ConfigError
from nasi_ray.replay.grid import check_grid, configs_of, parse_grid, points_of


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("mu=0,1,2.5", (0.0, 1.0, 2.5)),
        ("nu=auto,q10,sweep,100", ("auto", "q10", "sweep", 100.0)),
        ("nu=10:1000:log:3", (10.0, 100.0, 1000.0)),
        ("mu=0:1:lin:5", (0.0, 0.25, 0.5, 0.75, 1.0)),
        ("mu=2:0:lin:3,7", (2.0, 1.0, 0.0, 7.0)),
        ("num-samples=50,100:400:log:3,5e2", (50, 100, 200, 400, 500)),
        ("num_samples=1:3:lin", (1, 2, 3)),
        ("method=fix, ada", ("fix", "ada")),
        ("mu=1,1.0,1", (1.0,)),
        ("max_params=none,3.5e6", (None, 3.5e6)),
    ],
)
def test_values_are_read(text: str, values: tuple[Any, ...]) -> None:
    (found,) = parse_grid([text]).values()
    assert found == values
    assert [type(v) for v in found] == [type(v) for v in values]


def test_a_range_has_ten_values_and_both_ends() -> None:
    (found,) = parse_grid(["nu=20:2000:log"]).values()
    assert (len(found), found[0], found[-1]) == (10, 20.0, 2000.0)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "the grid is empty; give settings of the estimate, such as nu=20:2000:log mu=0,1,2"),
        (["mux=1"], "the grid has no setting 'mux'; did you mean mu?"),
        (["mu"], "grid has 'mu'; give NAME=VALUES"),
        (["mu="], "grid has mu without a value; give some, such as mu=A,B,C"),
        (["mu=1,,2"], "grid has mu without a value"),
        (["mu=1", "mu=2"], "grid has mu twice; give all its values at once"),
        (["mu=-1"], "mu is -1.0; it must be at least 0 and finite"),
        (["nu=much"], "nu is 'much'; it must be auto, sweep, a percentile like q10, or at least 0"),
        (["mu=much"], "mu is 'much' in the grid; input should be a valid number"),
        (["num_samples=0"], "num_samples is 0; it must be at least 1"),
        (["num_samples=1.5"], "num_samples is 1.5 in the grid; input should be a valid integer"),
        (["method=fixed"], "method is 'fixed' in the grid; input should be 'fix' or 'ada'"),
        (["method=a:b:log"], "grid has method=a:b:log; only num_samples, max_params"),
        (["nu=0:1:log"], "grid has nu=0:1:log; both ends of a log range are above 0"),
        (["nu=x:1:log"], "grid has nu=x:1:log; 'x' is not a number"),
        (["nu=1:2:log:1"], "grid has nu=1:2:log:1; the count after log is 2 to 1000"),
        (["nu=1:2:log:1e9"], "grid has nu=1:2:log:1e9; the count after log is 2 to 1000"),
        (
            ["nu=1:2:lin:400", "mu=1:2:lin:400"],
            "the grid has 160000 points; at most 100000 are allowed",
        ),
    ],
)
def test_slips_are_refused_in_one_line(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_grid(texts)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_from_python_are_checked_alike() -> None:
    assert check_grid({"mu": [1, 2], "nu": ["auto"]}) == {"mu": (1.0, 2.0), "nu": ("auto",)}
    wrong: list[dict[str, Any]] = [{}, {"mu": []}, {"mu": "12"}, {"mux": [1]}, {"mu": [-1]}]
    for grid in wrong:
        with pytest.raises(ConfigError):
            check_grid(grid)


def test_points_are_all_combinations() -> None:
    points = points_of({"mu": (0.0, 1.0), "method": ("fix", "ada")})
    assert points == [
        {"mu": 0.0, "method": "fix"},
        {"mu": 0.0, "method": "ada"},
        {"mu": 1.0, "method": "fix"},
        {"mu": 1.0, "method": "ada"},
    ]


def by_objective(settings: Mapping[str, Any]) -> EstimateConfig:
    estimator: Any
    objective = settings.get("objective", "relative")
    estimator = "straight-through" if objective == "trace-norm" else "score-function"
    return EstimateConfig(num_samples=7, objective=objective, estimator=estimator)


def test_a_point_has_the_defaults_of_its_objective() -> None:
    points = points_of({"objective": ("trace-norm", "relative"), "num_samples": (5,)})
    one, other = configs_of(points, by_objective)
    assert (one.objective, one.estimator, one.num_samples) == ("trace-norm", "straight-through", 5)
    assert (other.objective, other.estimator) == ("relative", "score-function")


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"nu": (1.0,)}, "the grid has nu, which objective relative does not use; remove it fro"),
        (
            {"objective": ("trace-norm", "relative"), "mu": (1.0,)},
            "the grid has mu, which objective relative does not use",
        ),
        ({"estimator": ("reinmax",)}, "estimator is 'reinmax', which needs the gradient of e"),
    ],
)
def test_what_a_point_does_not_read_is_refused(grid: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configs_of(points_of(grid), by_objective)
