from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasi_ray.arrays import FloatArray
from nasi_ray.config import EstimateConfig
from nasi_ray.errors import NasiRayError
from nasi_ray.nasi import estimator
from nasi_ray.nasi.estimator import (
    SWEPT_PERCENTILES,
    GradientEstimate,
    estimate,
    margins,
    num_samples_needed,
    outcomes,
    standard_error,
)
from nasi_ray.records.rows import Sample, SampleTable
from nasi_ray.spaces.darts import DartsSpace
from tests.contracts.samples import NUM_LOGITS, a_sample, assert_same_table
from tests.nasi.toy import ToySpace
from tests.strategies import estimate_configs, samples


def table_of(rows: Sequence[Sample], num_logits: int = NUM_LOGITS) -> SampleTable:
    return SampleTable.from_samples(rows, num_logits)


def written_out(rows: Sequence[Sample], config: EstimateConfig) -> tuple[list[float], list[float]]:
    """α* and ν_t once more, from the formulas, number by number."""
    if config.nu == "sweep":
        swept = [written_out(rows, replace(config, nu=f"q{q:g}"))[0] for q in SWEPT_PERCENTILES]
        middle = written_out(rows, replace(config, nu="q50"))[1]
        return np.mean(swept, axis=0).tolist(), middle
    good = [(s.trace_norm, s.grad.tolist()) for s in rows if s.status == "ok"]
    nu: float
    if config.nu == "auto":
        first = [s.trace_norm for s in rows if s.status == "ok" and s.index < 50]
        nu = sum(first) / len(first)
    elif isinstance(config.nu, str):
        nu = float(np.percentile([e for e, _ in good], float(config.nu[1:])))
    else:
        nu = config.nu
    alpha, constraints, largest, seen = [0.0] * NUM_LOGITS, [], 0.0, 0.0
    for t, (e, gradient) in enumerate(good, start=1):
        constraints.append(nu if config.method == "fix" else (nu + seen) / t)
        seen += e
        factor = 1 - config.mu if e > constraints[-1] else 1.0
        g = [factor * value for value in gradient]
        norm = math.sqrt(math.fsum(v * v for v in g) + config.norm_epsilon)
        largest = norm if config.normalize == "each" else max(largest, norm)
        if largest > 0:
            alpha = [a + config.xi * v / largest for a, v in zip(alpha, g, strict=True)]
    return [a / len(good) for a in alpha], constraints


@given(rows=samples(), config=estimate_configs())
def test_estimate_follows_the_formulas(rows: list[Sample], config: EstimateConfig) -> None:
    if config.nu == "auto" and rows[0].index >= 50:
        rows = [replace(rows[0], index=0), *rows]
    result = estimate(table_of(rows), config)
    alpha, constraints = written_out(rows, config)
    np.testing.assert_allclose(result.alpha, alpha, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(result.nu, constraints, rtol=1e-12)
    np.testing.assert_allclose(result.terms.mean(axis=0), result.alpha, rtol=1e-11, atol=1e-13)


@given(rows=samples(), config=estimate_configs())
def test_step_is_within_its_radius(rows: list[Sample], config: EstimateConfig) -> None:
    config = replace(config, nu=1.0)
    result = estimate(table_of(rows), config)
    assert np.linalg.norm(result.alpha) <= config.xi * (1 + 1e-12)


@given(rows=samples(), config=estimate_configs(), data=st.data())
def test_order_of_arrival_does_not_matter(
    rows: list[Sample], config: EstimateConfig, data: st.DataObject
) -> None:
    config = replace(config, nu=1.0)
    arrived = data.draw(st.permutations(rows))
    assert_same_table(table_of(arrived), table_of(rows))
    one, other = estimate(table_of(arrived), config), estimate(table_of(rows), config)
    assert one.alpha.tobytes() == other.alpha.tobytes()


@given(rows=samples(), config=estimate_configs(), num_samples=st.integers(1, 61))
def test_fewer_samples_are_answered_from_more(
    rows: list[Sample], config: EstimateConfig, num_samples: int
) -> None:
    config = replace(config, nu=1.0)
    rows = [replace(rows[0], index=0), *rows[1:]]
    everything = estimate(table_of(rows), config)
    fewer = replace(config, num_samples=num_samples)
    result = estimate(table_of(rows), fewer)
    alone = estimate(table_of([s for s in rows if s.index < num_samples]), fewer)
    assert result.alpha.tobytes() == alone.alpha.tobytes()
    assert result.terms.tobytes() == everything.terms[: len(result.terms)].tobytes()
    assert result.nu.tobytes() == everything.nu[: len(result.nu)].tobytes()


@given(rows=samples(), config=estimate_configs())
def test_failed_samples_are_left_out(rows: list[Sample], config: EstimateConfig) -> None:
    config = replace(config, nu=1.0)
    good = [s for s in rows if s.status == "ok"]
    assert (
        estimate(table_of(rows), config).alpha.tobytes()
        == estimate(table_of(good), config).alpha.tobytes()
    )


def test_constraint_adapts_to_the_samples_before() -> None:
    rows = [replace(a_sample(t), trace_norm=e) for t, e in enumerate([3.0, 5.0, 1.0])]
    result = estimate(table_of(rows), EstimateConfig(method="ada", nu=10.0))
    assert result.nu.tolist() == [10.0, 13.0 / 2, 18.0 / 3]


def test_penalty_turns_the_gradient_round() -> None:
    rows = [replace(a_sample(0), trace_norm=2.0)]
    direction = rows[0].grad / np.linalg.norm(rows[0].grad)
    below = estimate(table_of(rows), EstimateConfig(nu=2.0, mu=2.0, xi=3.0))
    above = estimate(table_of(rows), EstimateConfig(nu=1.9, mu=2.0, xi=3.0))
    np.testing.assert_allclose(below.alpha, 3 * direction, rtol=1e-12)
    np.testing.assert_allclose(above.alpha, -3 * direction, rtol=1e-12)


def test_terms_are_zero_while_every_gradient_is() -> None:
    rows = [replace(a_sample(t), trace_norm=e) for t, e in enumerate([9.0, 9.0, 1.0])]
    result = estimate(table_of(rows), EstimateConfig(nu=5.0, mu=1.0))
    assert result.terms[:2].tolist() == np.zeros((2, NUM_LOGITS)).tolist()
    np.testing.assert_allclose(
        result.alpha, rows[2].grad / np.linalg.norm(rows[2].grad) / 3, rtol=1e-12
    )


@pytest.mark.parametrize("norm_epsilon", [0.0, 1e-5])
def test_alpha_is_zero_when_every_gradient_is(norm_epsilon: float) -> None:
    rows = [replace(a_sample(t), trace_norm=9.0) for t in range(4)]
    config = EstimateConfig(nu=5.0, mu=1.0, norm_epsilon=norm_epsilon)
    assert estimate(table_of(rows), config).alpha.tolist() == [0.0] * NUM_LOGITS


def test_norm_epsilon_is_added_under_the_root() -> None:
    rows = [replace(a_sample(0), grad=np.array([3.0, 4.0, 0, 0, 0]))]
    result = estimate(table_of(rows), EstimateConfig(norm_epsilon=11.0))
    np.testing.assert_allclose(result.alpha[:2], [3 / 6, 4 / 6], rtol=1e-15)


@pytest.mark.parametrize("method", ["fix", "ada"])
def test_auto_constraint_is_the_mean_of_the_first_fifty(method: str) -> None:
    rows = [a_sample(t, failed=t == 7) for t in range(60)]
    expected = np.mean([s.trace_norm for s in rows[:50] if s.status == "ok"])
    config = EstimateConfig(nu="auto", num_samples=10, method=method)  # type: ignore[arg-type]
    result = estimate(table_of(rows), config)
    assert len(result.nu) == 9
    assert result.nu[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("config", "needed"),
    [
        (EstimateConfig(num_samples=10), 10),
        (EstimateConfig(num_samples=10, nu="auto"), 50),
        (EstimateConfig(num_samples=70, nu="auto"), 70),
    ],
)
def test_samples_needed(config: EstimateConfig, needed: int) -> None:
    assert num_samples_needed(config) == needed


def test_a_sweep_weighs_samples_by_their_rank() -> None:
    rng = np.random.default_rng(3)
    rows = [replace(a_sample(i), trace_norm=float(np.exp(3 * rng.normal()))) for i in range(200)]
    config = EstimateConfig(num_samples=200, nu="sweep", mu=2.0, normalize="each")
    result, table = estimate(table_of(rows), config), table_of(rows)
    rank = np.argsort(np.argsort(table.trace_norm))
    direction = table.grad / np.linalg.norm(table.grad, axis=1, keepdims=True)
    along = (result.terms * direction).sum(axis=1)
    assert np.abs(along - (1 - 2 * (rank + 0.5) / 200)).max() <= 0.05 + 1e-9
    np.testing.assert_allclose(result.terms, along[:, None] * direction, atol=1e-12)
    assert abs(along.mean()) < 1e-12, "as many are raised as are lowered"
    scaled = replace(table, trace_norm=1000 * table.trace_norm, grad=1000 * table.grad)
    np.testing.assert_allclose(estimate(scaled, config).alpha, result.alpha, rtol=1e-12)
    assert set(result.nu) == {float(np.median(table.trace_norm))}


def test_no_good_sample_is_an_error_with_its_reason() -> None:
    with pytest.raises(NasiRayError, match="none of the 2 samples is usable: overflow in 0"):
        estimate(table_of([a_sample(t, failed=True) for t in range(2)]), EstimateConfig())
    with pytest.raises(NasiRayError, match="the 0 samples is usable: no sample was evaluated"):
        estimate(table_of([]), EstimateConfig())


def test_auto_constraint_without_good_samples_is_an_error() -> None:
    rows = [a_sample(0, failed=True), a_sample(60)]
    with pytest.raises(NasiRayError, match=r"needs good samples among the first 50; give --nu"):
        estimate(table_of(rows), EstimateConfig(nu="auto"))


def test_one_good_sample_has_no_standard_error() -> None:
    space = ToySpace()
    rows = [a_sample(0, num_logits=space.num_logits)]
    result = estimate(table_of(rows, space.num_logits), EstimateConfig())
    found = margins(result, space)
    assert all(math.isnan(margin.standard_error) for margin in found.values())
    assert math.isnan(standard_error(np.array([])))


def margin_by_hand(alpha: FloatArray, terms: FloatArray, taken: int) -> tuple[float, float]:
    """Margin and its standard error between candidates ranked ``taken`` and the next."""
    ranked = sorted(range(len(alpha)), key=lambda j: (-alpha[j], j))
    one, other = ranked[taken - 1], ranked[taken]
    difference = terms[:, one] - terms[:, other]
    n = len(difference)
    variance = ((difference - difference.mean()) ** 2).sum() / (n - 1)
    return float(alpha[one] - alpha[other]), math.sqrt(variance / n)


def test_margins_compare_the_last_taken_with_the_first_left() -> None:
    space = ToySpace()
    rows = [a_sample(t, num_logits=space.num_logits) for t in range(20)]
    result = estimate(table_of(rows, space.num_logits), EstimateConfig(nu=1.0))
    found = margins(result, space)
    assert list(found) == ["cell/inputs", "cell/op"]
    for name, where, taken in (("cell/inputs", slice(0, 4), 2), ("cell/op", slice(4, 7), 1)):
        value, error = margin_by_hand(result.alpha[where], result.terms[:, where], taken)
        assert found[name].value == pytest.approx(value, rel=1e-12)
        assert found[name].standard_error == pytest.approx(error, rel=1e-12)


def test_darts_has_a_margin_for_every_decision() -> None:
    space = DartsSpace()
    rows = [a_sample(t, num_logits=space.num_logits) for t in range(8)]
    found = margins(estimate(table_of(rows, space.num_logits), EstimateConfig()), space)
    assert list(found) == [d.name for d in space.decisions]
    assert all(margin.value >= 0 and margin.standard_error > 0 for margin in found.values())


def test_standard_error_shrinks_with_the_root_of_the_samples() -> None:
    values = np.array([1.0, 2.0, 4.0, 7.0])
    assert standard_error(values) == pytest.approx(math.sqrt(7 / 4), rel=1e-15)


def test_draws_of_many_terms_spread_as_those_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    terms = rng.standard_normal((2000, 3)) @ rng.standard_normal((3, 3)) + [0.0, 5.0, -5.0]
    result = GradientEstimate(alpha=terms.mean(axis=0), terms=terms, nu=np.zeros(2000))
    drawn = outcomes(result)
    monkeypatch.setattr(estimator, "_MAX_DRAWN", 1999)
    normal = outcomes(result)
    assert drawn is not None
    assert normal is not None
    assert normal.shape == drawn.shape
    assert not (normal == drawn).any()
    # Of 200 draws a standard deviation is known to 5 %, a mean to 7 % of one, r to at most 0.07.
    assert np.corrcoef(normal.T) == pytest.approx(np.corrcoef(drawn.T), abs=0.3)
    assert abs(np.corrcoef(drawn.T) - np.eye(3)).max() > 0.6
    off = (normal.mean(axis=0) - drawn.mean(axis=0)) / drawn.std(axis=0)
    assert abs(off).max() < 0.4
    assert normal.std(axis=0) == pytest.approx(drawn.std(axis=0), rel=0.25)


def test_draws_of_many_terms_have_no_limit_of_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimator, "_MAX_DRAWN", 9)
    terms = np.random.default_rng(0).standard_normal((10, 3))
    terms -= terms.mean(axis=1, keepdims=True)  # as of the candidates of a decision
    nu = np.zeros(10)
    small = outcomes(GradientEstimate(alpha=terms.mean(axis=0), terms=terms, nu=nu))
    terms = terms * 2.0**500
    large = outcomes(GradientEstimate(alpha=terms.mean(axis=0), terms=terms, nu=nu))
    assert small is not None
    assert large is not None
    assert large / 2.0**500 == pytest.approx(small)
    assert small.sum(axis=1) == pytest.approx(0.0, abs=1e-6)
