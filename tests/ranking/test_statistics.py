from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from nasi_ray.arrays import FloatArray
from nasi_ray.ranking.statistics import (
    correlations,
    deciles,
    kendall,
    mean_over_seeds,
    seed_agreement,
    spearman,
)

# With ties in both, and signs that agree and disagree.
X = np.array([1.0, 2.0, 2.0, 3.0, 5.0, 4.0, -1.0])
Y = np.array([10.0, 30.0, 20.0, 20.0, 60.0, 10.0, 10.0])

pairs = st.integers(2, 30).flatmap(
    lambda n: st.tuples(*(arrays(np.float64, n, elements=st.integers(-4, 4)) for _ in "xy"))
)


@given(pairs)
def test_values_are_those_of_scipy_ties_included(xy: tuple[FloatArray, FloatArray]) -> None:
    x, y = xy
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert spearman(x, y) is None
        assert kendall(x, y) is None
        return
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert kendall(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)


def test_kendall_is_counted_by_hand() -> None:
    x, y = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0])
    assert kendall(x, y) == pytest.approx((5 - 1) / 6)
    assert spearman(x, y) == pytest.approx(1 - 6 * 2 / (4 * 15))


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_pairs_have_no_correlation(n: int) -> None:
    rho, tau = correlations(np.ones(n), np.ones(n))
    for found in (rho, tau):
        assert (found.value, found.low, found.high, found.n) == (None, None, None, n)


def test_intervals_are_the_percentiles_of_resampled_pairs() -> None:
    rho, tau = correlations(X, Y, num_bootstrap=200, seed=3)
    drawn = np.random.default_rng(3).integers(len(X), size=(200, len(X)))
    for found, measure in ((rho, stats.spearmanr), (tau, stats.kendalltau)):
        there = [r for r in drawn if np.ptp(X[r]) and np.ptp(Y[r])]
        values = [measure(X[r], Y[r]).statistic for r in there]
        assert found.value == pytest.approx(measure(X, Y).statistic)
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
        assert found.n == len(X)


def test_the_same_seed_gives_the_same_interval_and_no_draws_give_none() -> None:
    assert correlations(X, Y, seed=1) == correlations(X, Y, seed=1)
    assert correlations(X, Y, seed=1) != correlations(X, Y, seed=2)
    rho, _ = correlations(X, Y, num_bootstrap=0)
    assert rho.value is not None
    assert (rho.low, rho.high) == (None, None)


def test_draws_in_blocks_are_draws_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = correlations(X, Y, num_bootstrap=50)
    monkeypatch.setattr("nasi_ray.ranking.statistics._MAX_BLOCK", 20)
    assert correlations(X, Y, num_bootstrap=50) == whole


def test_a_known_correlation_is_within_its_interval() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = -x + rng.normal(size=400)
    rho, tau = correlations(x, y)
    # Of a normal pair with correlation r: ρ = 6/π asin(r/2), τ = 2/π asin(r).
    r = -1 / np.sqrt(2)
    for found, expected in ((rho, 6 / np.pi * np.arcsin(r / 2)), (tau, 2 / np.pi * np.arcsin(r))):
        assert found.low is not None
        assert found.high is not None
        assert found.low < expected < found.high < 0


def test_correlation_does_not_depend_on_the_scale() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=50), rng.normal(size=50)
    assert correlations(x, y) == correlations(np.exp(60 * x), y)


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
    between = spearman(scores[1], scores[2])
    assert between is not None
    assert seed_agreement(scores) == pytest.approx(np.mean([1.0, -1.0, between]))
    assert seed_agreement(scores[:1]) is None
