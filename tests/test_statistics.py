from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from nasi_ray.arrays import FloatArray
from nasi_ray.statistics import (
    Kind,
    coefficient,
    coefficients,
    correlate_seeds,
    deciles,
    finite_or_none,
    mean_over_seeds,
    partial_correlation,
    partial_spearman,
    percentile_interval,
    rank_correlations,
    seed_agreement,
    tenths,
)

SCIPY = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}
every_kind = pytest.mark.parametrize("kind", ["pearson", "spearman", "kendall"])

# With ties in both, and signs that agree and disagree.
X = np.array([1.0, 2.0, 2.0, 3.0, 5.0, 4.0, -1.0])
Y = np.array([10.0, 30.0, 20.0, 20.0, 60.0, 10.0, 10.0])

LONG = np.random.default_rng(0).normal(size=200)
NOISY = LONG + np.random.default_rng(1).normal(size=200)

pairs = st.integers(2, 30).flatmap(
    lambda n: st.tuples(*(arrays(np.float64, n, elements=st.integers(-4, 4)) for _ in "xy"))
)


@every_kind
def test_every_row_has_scipys_coefficient(kind: Kind) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, size=(2, 20, 15)).astype(np.float64)  # with ties
    expected = [SCIPY[kind](a, b).statistic for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(coefficients(x, y, kind), expected, rtol=1e-12, atol=1e-12)


@every_kind
def test_a_constant_row_has_none(kind: Kind) -> None:
    x = np.array([[1.0, 2.0, 3.0], [0.1, 0.1, 0.1]])
    found = coefficients(x, x, kind)
    assert found[0] == pytest.approx(1)
    assert np.isnan(found[1])


@given(pairs)
def test_values_are_those_of_scipy_ties_included(xy: tuple[FloatArray, FloatArray]) -> None:
    x, y = xy
    for kind in ("spearman", "kendall"):
        if np.ptp(x) == 0 or np.ptp(y) == 0:
            assert math.isnan(coefficient(x, y, kind))
        else:
            expected = SCIPY[kind](x, y).statistic
            assert coefficient(x, y, kind) == pytest.approx(expected, abs=1e-12)


def test_kendall_is_counted_by_hand() -> None:
    x, y = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0])
    assert coefficient(x, y, "kendall") == pytest.approx((5 - 1) / 6)
    assert coefficient(x, y, "spearman") == pytest.approx(1 - 6 * 2 / (4 * 15))


@every_kind
def test_two_pairs_have_a_coefficient(kind: Kind) -> None:
    x = np.array([0.0, 1.0])
    assert coefficient(x, x, kind) == pytest.approx(1)
    assert coefficient(x, -x, kind) == pytest.approx(-1)


def test_draws_without_a_coefficient_are_left_out_of_the_interval() -> None:
    draws = np.append(np.linspace(0, 1, 101), np.nan)
    assert percentile_interval(draws) == pytest.approx((0.025, 0.975))
    assert np.isnan(percentile_interval(np.array([np.nan]))).all()


def test_what_is_not_defined_is_null_in_json() -> None:
    values = [finite_or_none(value) for value in (0.5, float("nan"), float("inf"))]
    assert json.dumps(values, allow_nan=False) == "[0.5, null, null]"


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_pairs_have_no_correlation(n: int) -> None:
    for found in rank_correlations(np.ones(n), np.ones(n)):
        assert np.isnan([found.value, found.low, found.high]).all()
        assert found.num_pairs == n


def test_intervals_are_the_percentiles_of_resampled_pairs() -> None:
    rho, tau = rank_correlations(X, Y, num_bootstrap=200, seed=3)
    drawn = np.random.default_rng(3).integers(len(X), size=(200, len(X)))
    for found, measure in ((rho, stats.spearmanr), (tau, stats.kendalltau)):
        there = [r for r in drawn if np.ptp(X[r]) and np.ptp(Y[r])]
        values = [measure(X[r], Y[r]).statistic for r in there]
        assert found.value == pytest.approx(measure(X, Y).statistic)
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
        assert found.num_pairs == len(X)


def test_the_same_seed_gives_the_same_interval_and_no_draws_give_none() -> None:
    assert rank_correlations(X, Y, seed=1) == rank_correlations(X, Y, seed=1)
    assert rank_correlations(X, Y, seed=1) != rank_correlations(X, Y, seed=2)
    rho, _ = rank_correlations(X, Y, num_bootstrap=0)
    assert math.isfinite(rho.value)
    assert np.isnan([rho.low, rho.high]).all()


def test_draws_in_blocks_are_draws_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rank_correlations(X, Y, num_bootstrap=50), correlate_seeds([(X, Y)], "pearson")
    monkeypatch.setattr("nasi_ray.statistics._MAX_BLOCK", 20)
    blocks = rank_correlations(X, Y, num_bootstrap=50), correlate_seeds([(X, Y)], "pearson")
    assert blocks == whole


def test_a_known_correlation_is_within_its_interval() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = -x + rng.normal(size=400)
    rho, tau = rank_correlations(x, y)
    # Of a normal pair with correlation r: ρ = 6/π asin(r/2), τ = 2/π asin(r).
    r = -1 / np.sqrt(2)
    for found, expected in ((rho, 6 / np.pi * np.arcsin(r / 2)), (tau, 2 / np.pi * np.arcsin(r))):
        assert found.low < expected < found.high < 0


def test_correlation_does_not_depend_on_the_scale() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=50), rng.normal(size=50)
    assert rank_correlations(x, y) == rank_correlations(np.exp(60 * x), y)


@every_kind
def test_a_growing_function_has_correlation_one_and_a_falling_one_minus_one(kind: Kind) -> None:
    assert correlate_seeds([(LONG, 2 * LONG + 1)], kind).value == pytest.approx(1)
    found = correlate_seeds([(LONG, -LONG)], kind)
    assert (found.value, found.low, found.high) == pytest.approx((-1, -1, -1))


@every_kind
def test_the_coefficient_of_a_seed_is_scipys(kind: Kind) -> None:
    rounded = NOISY.round()
    expected = SCIPY[kind](LONG, rounded).statistic
    assert correlate_seeds([(LONG, rounded)], kind).value == pytest.approx(expected)


def test_the_interval_is_as_wide_as_theory_says() -> None:
    found = correlate_seeds([(LONG, NOISY)], "pearson")
    z = np.arctanh(found.value)
    low, high = np.tanh([z - 1.96 / np.sqrt(197), z + 1.96 / np.sqrt(197)])
    assert found.low == pytest.approx(low, abs=0.03)
    assert found.high == pytest.approx(high, abs=0.03)


def test_seeds_are_averaged_and_not_pooled() -> None:
    """Each seed falls; pooled, the scale of the seeds would make a growing whole."""
    seeds = [(LONG + 100 * k, 100 * k - LONG) for k in range(3)]
    found = correlate_seeds(seeds, "pearson")
    assert found.value == pytest.approx(-1)
    assert found.per_seed == pytest.approx((-1, -1, -1))
    assert found.num_pairs == 600


def test_more_seeds_narrow_the_interval() -> None:
    y = [LONG + np.random.default_rng(k + 1).normal(size=200) for k in range(9)]
    one = correlate_seeds([(LONG, y[0])], "spearman")
    nine = correlate_seeds([(LONG, v) for v in y], "spearman")
    assert nine.high - nine.low < 0.5 * (one.high - one.low)


@every_kind
def test_a_seed_with_a_constant_or_too_few_pairs_is_not_defined(kind: Kind) -> None:
    for x, y in ((LONG, np.ones(200)), (LONG[:2], NOISY[:2]), (LONG[:0], LONG[:0])):
        found = correlate_seeds([(x, y)], kind)
        assert np.isnan([found.value, found.low, found.high]).all()


def test_a_seed_without_a_coefficient_does_not_hide_the_others() -> None:
    found = correlate_seeds([(LONG, np.ones(200)), (LONG, LONG)], "pearson")
    assert found.value == pytest.approx(1)
    assert np.isnan(found.per_seed[0])


def test_the_same_numbers_get_the_same_interval() -> None:
    first = correlate_seeds([(LONG, NOISY)], "spearman")
    assert first == correlate_seeds([(LONG, NOISY)], "spearman")


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="paired"):
        correlate_seeds([(LONG, NOISY[1:])], "pearson")


def test_tenths_keep_the_order_of_ties_and_are_fewer_for_few_values() -> None:
    assert [g.tolist() for g in tenths(np.array([2.0, 1.0, 2.0]), num_groups=2)] == [[1, 0], [2]]
    assert [len(g) for g in tenths(np.arange(4.0))] == [1] * 4
    assert tenths(np.empty(0)) == []


def test_deciles_are_tenths_of_the_order_by_score() -> None:
    score = np.arange(25.0)[::-1]
    error = score**2
    groups = deciles(score, error)
    assert [g.num for g in groups] == [3, 3, 3, 3, 3, 2, 2, 2, 2, 2]
    assert [g.score for g in groups[:2]] == [1.0, 4.0]
    assert groups[0].error == pytest.approx((0 + 1 + 4) / 3)
    assert groups[0].std == pytest.approx(np.std([0, 1, 4]))
    assert sum(g.num * g.error for g in groups) == pytest.approx(error.sum())


def test_fewer_architectures_than_groups_are_a_group_each() -> None:
    assert [g.num for g in deciles(np.array([2.0, 1.0]), np.array([5.0, 6.0]))] == [1, 1]
    assert deciles(np.empty(0), np.empty(0)) == []


def test_an_architecture_without_one_seeds_score_has_no_mean() -> None:
    scores = np.array([[1.0, np.nan, 4.0], [3.0, 5.0, np.nan]])
    assert mean_over_seeds(scores).tolist()[0] == 2.0
    assert np.isnan(mean_over_seeds(scores)[1:]).all()


def test_seeds_agree_by_the_architectures_that_both_have() -> None:
    scores = np.array([[1.0, 2.0, 3.0, np.nan], [2.0, 3.0, 9.0, 0.0], [3.0, 2.0, 1.0, 5.0]])
    between = coefficient(scores[1], scores[2], "spearman")
    assert seed_agreement(scores) == pytest.approx(np.mean([1.0, -1.0, between]))
    assert math.isnan(seed_agreement(scores[:1]))


def test_importing_it_does_not_import_scipy() -> None:
    program = "import sys, nasi_ray.statistics; sys.exit('scipy' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_partial_correlation_is_that_of_the_residuals_of_ranks() -> None:
    rng = np.random.default_rng(0)
    given = rng.normal(size=60)
    x, y = given + rng.normal(size=60), np.exp(given) + rng.normal(size=60)
    ranks = [np.argsort(np.argsort(v)).astype(float) for v in (x, y, given)]
    design = np.stack([np.ones(60), ranks[2]], axis=1)
    residuals = [r - design @ np.linalg.lstsq(design, r, rcond=None)[0] for r in ranks[:2]]
    expected = np.corrcoef(*residuals)[0, 1]
    assert partial_spearman(x, y, given) == pytest.approx(expected, abs=1e-12)
    assert partial_spearman(y, x, given) == pytest.approx(expected, abs=1e-12)
    assert partial_spearman(-x, y, np.exp(given)) == pytest.approx(-expected, abs=1e-12)


def test_a_partial_correlation_is_undefined_where_nothing_is_left_to_explain() -> None:
    x, y = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 1.0, 4.0, 3.0])
    assert math.isnan(partial_spearman(x, y, 5 - x**3))
    assert math.isnan(partial_spearman(x, y, y))
    assert math.isnan(partial_spearman(x[:2], y[:2], np.ones(2)))
    assert math.isnan(partial_spearman(np.ones(4), y, x))
    assert partial_spearman(x, y, np.ones(4)) == coefficient(x, y, "spearman")


def triples(num: int, *, seed: int = 0) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Two that are correlated beside what both owe to the third."""
    rng = np.random.default_rng(seed)
    given, shared = rng.normal(size=(2, num))
    x, y = (given + shared + 0.5 * rng.normal(size=num) for _ in "xy")
    return x, y, given


@given(pairs, st.integers(0, 100))
def test_a_partial_correlation_has_the_value_without_an_interval(
    xy: tuple[FloatArray, FloatArray], seed: int
) -> None:
    x, y = xy
    third = np.random.default_rng(seed).integers(0, 3, size=len(x)).astype(float)
    found = partial_correlation(x, y, third, num_bootstrap=3)
    expected = partial_spearman(x, y, third)
    assert found.value == expected or (math.isnan(found.value) and math.isnan(expected))
    assert found.num_pairs == len(x)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_interval_of_a_partial_correlation_holds_its_value(sign: int) -> None:
    x, y, third = triples(200)
    found = partial_correlation(x, sign * y, third, num_bootstrap=300)
    assert found.low < found.value < found.high
    assert found.low > 0 if sign > 0 else found.high < 0
    assert found.high - found.low < 0.3
    assert found == partial_correlation(x, sign * y, third, num_bootstrap=300)
    assert found != partial_correlation(x, sign * y, third, num_bootstrap=300, seed=1)
    few = partial_correlation(*triples(20), num_bootstrap=300)
    assert few.high - few.low > found.high - found.low


def test_draws_of_a_partial_correlation_are_those_of_a_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y = X, Y
    third = np.array([1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 1.0])
    drawn = np.random.default_rng(3).integers(len(x), size=(200, len(x)))
    values = np.array([partial_spearman(x[rows], y[rows], third[rows]) for rows in drawn])
    # Constant columns, a constant third, and a third that explains all are among them.
    assert 0 < np.isfinite(values).sum() < 200
    expected = np.quantile(values[np.isfinite(values)], [0.025, 0.975])
    for block in (10**9, 20):
        monkeypatch.setattr("nasi_ray.statistics._MAX_BLOCK", block)
        found = partial_correlation(x, y, third, num_bootstrap=200, seed=3)
        assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-12)


def test_a_partial_correlation_without_draws_or_value_has_no_interval() -> None:
    x, y, third = triples(30)
    without = partial_correlation(x, y, third, num_bootstrap=0)
    assert without.value == partial_spearman(x, y, third)
    assert np.isnan([without.low, without.high]).all()
    for undefined in ((third, y, third), (np.ones(30), y, third), (x[:2], y[:2], third[:2])):
        found = partial_correlation(*undefined, num_bootstrap=20)
        assert np.isnan([found.value, found.low, found.high]).all()
