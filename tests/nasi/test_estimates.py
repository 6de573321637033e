"""Every estimator of every objective, on records made up for tests."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from typing import Any, get_args

import numpy as np
import pytest

from nasi_ray.config import (
    GRADIENT_ESTIMATORS,
    PATH,
    PATH_MEASUREMENTS,
    EstimateConfig,
    Estimator,
    Objective,
)
from nasi_ray.errors import ConfigError, NoGoodSamplesError
from nasi_ray.nasi.estimates import architecture_of, make_estimate, refuse_impossible
from nasi_ray.nasi.estimator import Estimate, kept_margins, margins
from nasi_ray.nasi.gumbel import sample_architecture
from nasi_ray.nasi.surrogate import Design
from nasi_ray.records.rows import MeasurementTable, Sample, SampleTable, SearchRecords
from nasi_ray.search.result import describe_alpha
from nasi_ray.seeding import generator
from nasi_ray.spaces import get_space
from nasi_ray.spaces.base import SearchSpace
from nasi_ray.spaces.options import configuration
from tests.nasi.toy import ToySpace

SETTINGS = {"seed": 0, "temperature": 1.0}
NUM = 60
ALLOWED = [
    (objective, estimator)
    for objective, estimator in product(get_args(Objective), get_args(Estimator))
    if objective == "trace-norm" or estimator not in GRADIENT_ESTIMATORS
]


def records_of(
    space: SearchSpace, num: int = NUM, *, constant: float | None = None
) -> SearchRecords:
    """Random numbers for architectures as a search draws them; one sample is lost, one failed."""
    rng = np.random.default_rng(0)
    choices = [
        sample_architecture(
            space, ["any"], generator(0, "gumbel", t), sample_per="step", temperature=1.0
        ).choices
        for t in range(num)
    ]
    samples = [
        Sample(
            index=t,
            status="ok",
            trace_norm=float(rng.lognormal()),
            grad=rng.standard_normal(space.num_logits),
            choices=choices[t],
        )
        for t in range(num)
    ]
    ok, lost = np.ones(num, dtype=bool), np.zeros(num, dtype=bool)
    ok[[3, 4]] = False
    lost[4] = True
    values = {name: rng.lognormal(size=num) for name in PATH_MEASUREMENTS}
    values["naswot"][7] = np.nan
    if constant is not None:
        values = {name: np.full(num, constant) for name in PATH_MEASUREMENTS}
    padded = np.array(choices, dtype=np.int16)
    padded[4] = -1
    table = MeasurementTable(
        index=np.arange(num),
        ok=ok,
        lost=lost,
        values={name: np.where(ok, column, np.nan) for name, column in values.items()},
        choices=padded,
        errors={3: "not finite", 4: "gone"},
        seconds=np.ones(num),
    )
    return SearchRecords(
        samples=SampleTable.from_samples(samples, space.num_logits), measurements={PATH: table}
    )


def estimate_of(space: SearchSpace, **settings: Any) -> Estimate:
    config = EstimateConfig(**{"num_samples": NUM, "nu": "sweep", **settings})
    return make_estimate(records_of(space), space, config, SETTINGS, num_draws=5)


@pytest.mark.parametrize("num", [1, 2, 3, 4])
@pytest.mark.parametrize("estimator", ["score-function", "second-order"])
def test_of_a_handful_of_samples_nobody_knows_how_sure_a_choice_is(
    num: int, estimator: Estimator
) -> None:
    space = get_space("s1")
    config = EstimateConfig(num_samples=num, objective="panel", estimator=estimator)
    # The fourth and the fifth are not good.
    records = records_of(space).below(num if num < 4 else 6)
    found = make_estimate(records, space, replace(config, num_samples=6), SETTINGS)
    described = describe_alpha(found, space)
    is_known = [p is not None for p in described["probabilities"].values()]
    assert set(is_known) == {num == 4}
    assert all((e is not None) == (num == 4) for e in described["margin_errors"].values())


def test_draws_of_samples_of_one_architecture_have_no_features() -> None:
    space = get_space("s1")
    row = np.array([configuration(space, np.zeros(len(space.decisions), dtype=np.int64))])
    design = Design(np.repeat(row, 5, axis=0), space, order=2)
    counts = np.ones((2, 5), dtype=np.int64)
    targets = np.random.default_rng(0).random((2, 5, 1))
    for drawn in design.fit_draws(targets, counts, ridge=30.0, standardized=True):
        assert drawn.std() == 0.0


@pytest.mark.parametrize("name", ["s1", "nb201"])
@pytest.mark.parametrize(("objective", "estimator"), ALLOWED)
def test_every_allowed_pair_selects_a_cell(name: str, objective: Any, estimator: Any) -> None:
    space = get_space(name)
    config = EstimateConfig(
        num_samples=NUM,
        nu="sweep",
        objective=objective,
        estimator=estimator,
    )
    records = records_of(space)
    found, again = (make_estimate(records, space, config, SETTINGS, num_draws=5) for _ in range(2))
    assert found.alpha.tobytes() == again.alpha.tobytes()
    assert found.position is not None
    assert again.position is not None
    assert found.position.tolist() == again.position.tolist()
    assert margins(found, space) == margins(again, space)
    if estimator not in GRADIENT_ESTIMATORS:
        assert (found.alpha <= 0).all()
        assert (found.alpha[configuration(space, found.position) > 0] == 0).all()
        assert found.draws is not None
        assert found.draws.shape == (5, space.num_logits)
    for margin in (*margins(found, space).values(), *kept_margins(found, space).values()):
        assert 0 <= margin.probability <= 1
        assert margin.value >= 0
    cell = architecture_of(found, space, config)
    assert found.costs["params"] == cell.num_params()
    json.dumps(describe_alpha(found, space), allow_nan=False)


@pytest.mark.parametrize("objective", ["trace-norm", "relative", "expressive"])
@pytest.mark.parametrize("estimator", ["score-function", "second-order"])
def test_a_space_that_cannot_be_enumerated_is_searched(objective: Any, estimator: Any) -> None:
    space = get_space("darts")
    config = EstimateConfig(
        num_samples=NUM,
        nu="sweep",
        objective=objective,
        estimator=estimator,
    )
    found = make_estimate(records_of(space), space, config, SETTINGS, num_draws=1)
    assert (found.alpha <= 0).all()
    assert found.position is not None
    assert (found.alpha[configuration(space, found.position) > 0] == 0).all()
    assert found.front == ()
    assert architecture_of(found, space, config) == space.select(space.split(found.alpha))


@pytest.mark.parametrize(("objective", "estimator"), ALLOWED)
def test_within_a_budget_the_cell_fits(objective: Any, estimator: Any) -> None:
    space = get_space("nb201")
    params, madds = space.costs("params"), space.costs("multiply_adds")
    assert params is not None
    assert madds is not None
    limits: dict[str, Any] = {
        "max_params": float(np.median(params)),
        "max_madds": float(np.quantile(madds, 0.2)),
    }
    found = estimate_of(space, objective=objective, estimator=estimator, **limits)
    assert found.costs["params"] <= limits["max_params"]
    assert found.costs["multiply_adds"] <= limits["max_madds"]
    config = EstimateConfig(objective=objective, estimator=estimator, **limits)
    assert architecture_of(found, space, config).num_params() == found.costs["params"]
    assert all(point.num_params <= limits["max_params"] for point in found.front)


def test_what_no_allowed_cell_has_is_null_in_json() -> None:
    space = get_space("nb201")
    params = space.costs("params")
    assert params is not None
    # The smallest cells have no convolution at all.
    found = estimate_of(
        space, objective="balanced", estimator="second-order", max_params=float(params.min())
    )
    described = describe_alpha(found, space)
    row = described["alpha"][space.decisions[0].name]
    convs = [i for i, op in enumerate(space.decisions[0].candidates) if "conv" in op]
    assert [row[i] for i in convs] == [None, None]
    assert sum(v == 0.0 for v in row) == 1
    json.dumps(described, allow_nan=False)


def test_the_front_gives_the_best_cell_under_each_limit() -> None:
    space = get_space("s1")
    found = estimate_of(space, objective="panel", estimator="second-order")
    assert len(found.front) == 10
    assert all(point.num_params <= point.max_params for point in found.front)
    scores = [point.score for point in found.front]
    assert scores == sorted(scores)
    assert found.position is not None
    assert found.front[-1].position.tolist() == found.position.tolist()


def is_one_line(error: pytest.ExceptionInfo[ConfigError]) -> bool:
    return "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("space", "settings", "sample_per", "message"),
    [
        ("nb201", {"max_params": 10.0}, "step", "max_params is 10; no cell of nb201 fits: the sm"),
        ("s1", {"max_madds": 10.0}, "step", "max_madds is 10; no cell of s1 fits: the smallest"),
        (
            "darts",
            {"max_params": 1e4},
            "step",
            "max_params is 10000; no cell of darts fits: the sm",
        ),
        ("darts", {"objective": "panel"}, "step", "objective panel needs the number of parameters"),
        ("s1", {"estimator": "reinmax"}, "cell", "estimator 'reinmax' needs one draw for all"),
        ("s1", {"objective": "relative"}, "cell", "use --sample-per step"),
    ],
)
def test_what_no_records_can_answer_is_refused_in_one_line(
    space: str, settings: dict[str, Any], sample_per: str, message: str
) -> None:
    if "objective" in settings:
        settings = {"estimator": "second-order", **settings}
    config = EstimateConfig(num_samples=NUM, **settings)
    with pytest.raises(ConfigError, match=message) as caught:
        refuse_impossible(get_space(space), config, sample_per=sample_per)
    assert is_one_line(caught)
    if sample_per == "step":
        with pytest.raises(ConfigError, match=message):
            make_estimate(records_of(get_space(space)), get_space(space), config, SETTINGS)


def test_what_records_lack_is_named() -> None:
    space = get_space("s1")
    whole = records_of(space)
    no_gradients, no_measurements = replace(whole, samples=None), replace(whole, measurements={})
    relative = EstimateConfig(objective="relative", estimator="score-function")
    for records, config, message in (
        (no_gradients, EstimateConfig(), "this run has no gradients; objective trace-norm needs"),
        (no_measurements, relative, "no measurements; objective relative needs them"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            make_estimate(records, space, config, SETTINGS)
        assert is_one_line(caught)


@pytest.mark.parametrize(
    ("name", "objective", "estimator"),
    [
        (name, objective, estimator)
        for name in ("s1", "nb201", "toy")
        for objective, estimator in ALLOWED
        if objective != "trace-norm"
        # The toy has no method `costs`.
        and (name != "toy" or objective not in ("panel", "balanced"))
    ],
)
def test_measurements_that_are_all_the_same_select_some_cell(
    name: str, objective: Any, estimator: Any
) -> None:
    space = ToySpace() if name == "toy" else get_space(name)
    records = records_of(space, constant=2.0)
    # Rows that failed come last, whatever the others are: leave them out.
    table = records.measurements[PATH]
    records = replace(records, measurements={PATH: replace(table, lost=~table.ok)})
    config = EstimateConfig(
        num_samples=NUM,
        objective=objective,
        estimator=estimator,
    )
    found = make_estimate(records, space, config, SETTINGS, num_draws=5)
    assert np.isfinite(found.alpha).all()
    assert (found.alpha <= 0).all()
    if objective not in ("panel", "balanced"):
        assert (found.alpha == 0).all()
        assert all(margin.value == 0 for margin in margins(found, space).values())


@pytest.mark.parametrize(("objective", "estimator"), ALLOWED)
def test_without_a_good_sample_there_is_no_answer(objective: Any, estimator: Any) -> None:
    space = get_space("s1")
    whole = records_of(space)
    table = whole.measurements[PATH]
    none = np.zeros(NUM, dtype=bool)
    bad = {name: np.full(NUM, np.nan) for name in table.values}
    samples = [
        Sample(index=t, status="lost", trace_norm=np.nan, error="gone",
               grad=np.full(space.num_logits, np.nan), choices=np.array([], dtype=np.int64))
        for t in range(NUM)
    ]  # fmt: skip
    records = SearchRecords(
        samples=SampleTable.from_samples(samples, space.num_logits),
        measurements={
            PATH: replace(table, ok=none, lost=~none, values=bad,
                          choices=np.empty((NUM, 0), dtype=np.int16))
        },
    )  # fmt: skip
    config = EstimateConfig(
        num_samples=NUM,
        nu="sweep",
        objective=objective,
        estimator=estimator,
    )
    with pytest.raises(NoGoodSamplesError, match=r"is usable: (gone|not finite); change"):
        make_estimate(records, space, config, SETTINGS, num_draws=2)


def test_only_the_first_samples_are_read() -> None:
    space = get_space("s1")
    config = EstimateConfig(num_samples=20, objective="relative", estimator="score-function")
    whole = make_estimate(records_of(space), space, config, SETTINGS, num_draws=2)
    first = make_estimate(records_of(space).below(20), space, config, SETTINGS, num_draws=2)
    assert whole.alpha.tobytes() == first.alpha.tobytes()


@pytest.mark.parametrize("estimator", ["second-order", "score-function"])
@pytest.mark.parametrize("nu", ["auto", "q40", 0.5])
@pytest.mark.parametrize("name", ["s1", "nb201"])
def test_margins_of_e_are_in_standard_deviations_whatever_its_scale(
    name: str, nu: Any, estimator: Estimator
) -> None:
    space = get_space(name)
    records = records_of(space)
    assert records.samples is not None
    scaled = replace(
        records.samples,
        trace_norm=1000 * records.samples.trace_norm,
        grad=1000 * records.samples.grad,
    )
    config = EstimateConfig(num_samples=NUM, nu=nu, mu=2.0, estimator=estimator)
    of_scaled = replace(config, nu=nu if isinstance(nu, str) else 1000 * nu)
    one = make_estimate(records, space, config, SETTINGS, num_draws=10)
    other = make_estimate(
        replace(records, samples=scaled), space, of_scaled, SETTINGS, num_draws=10
    )
    assert architecture_of(one, space, config) == architecture_of(other, space, of_scaled)
    assert one.score is not None
    assert one.score.std() == pytest.approx(1.0)
    found = margins(other, space)
    assert max(margin.value for margin in found.values()) > 0
    for decision, margin in margins(one, space).items():
        assert found[decision].value == pytest.approx(margin.value, rel=1e-6, abs=1e-9)
        assert found[decision].standard_error == pytest.approx(margin.standard_error, rel=1e-3)
        assert found[decision].probability == margin.probability
