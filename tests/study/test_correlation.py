from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nasi_ray.statistics import Kind
from nasi_ray.study.correlation import correlate

RNG = np.random.default_rng(0)
X = RNG.normal(size=200)
NOISY = X + RNG.normal(size=200)


@pytest.mark.parametrize("kind", ["pearson", "spearman", "kendall"])
def test_a_growing_function_has_correlation_one_and_a_falling_one_minus_one(kind: Kind) -> None:
    assert correlate([(X, 2 * X + 1)], kind).value == pytest.approx(1)
    found = correlate([(X, -X)], kind)
    assert (found.value, found.low, found.high) == pytest.approx((-1, -1, -1))


def test_values_are_those_of_scipy() -> None:
    assert correlate([(X, NOISY)], "pearson").value == pytest.approx(
        stats.pearsonr(X, NOISY).statistic
    )
    rounded = NOISY.round()
    assert correlate([(X, rounded)], "spearman").value == pytest.approx(
        stats.spearmanr(X, rounded).statistic
    )
    assert correlate([(X, rounded)], "kendall").value == pytest.approx(
        stats.kendalltau(X, rounded).statistic
    )


def test_the_interval_is_as_wide_as_theory_says() -> None:
    found = correlate([(X, NOISY)], "pearson")
    z = np.arctanh(found.value)
    low, high = np.tanh([z - 1.96 / np.sqrt(197), z + 1.96 / np.sqrt(197)])
    assert found.low == pytest.approx(low, abs=0.03)
    assert found.high == pytest.approx(high, abs=0.03)


def test_seeds_are_averaged_and_not_pooled() -> None:
    """Each seed falls; pooled, the scale of the seeds would make a growing whole."""
    seeds = [(X + 100 * k, 100 * k - X) for k in range(3)]
    found = correlate(seeds, "pearson")
    assert found.value == pytest.approx(-1)
    assert found.per_seed == pytest.approx((-1, -1, -1))
    assert found.num_pairs == 600


def test_more_seeds_narrow_the_interval() -> None:
    y = [X + np.random.default_rng(k + 1).normal(size=200) for k in range(9)]
    one, nine = correlate([(X, y[0])], "spearman"), correlate([(X, v) for v in y], "spearman")
    assert nine.high - nine.low < 0.5 * (one.high - one.low)


@pytest.mark.parametrize("kind", ["pearson", "spearman", "kendall"])
def test_what_is_not_defined_is_nan_and_not_a_number(kind: Kind) -> None:
    for x, y in ((X, np.ones(200)), (X[:2], NOISY[:2]), (X[:0], X[:0])):
        found = correlate([(x, y)], kind)
        assert np.isnan([found.value, found.low, found.high]).all()


def test_a_seed_without_a_coefficient_does_not_hide_the_others() -> None:
    found = correlate([(X, np.ones(200)), (X, X)], "pearson")
    assert found.value == pytest.approx(1)
    assert np.isnan(found.per_seed[0])


def test_the_same_numbers_get_the_same_interval() -> None:
    assert correlate([(X, NOISY)], "spearman") == correlate([(X, NOISY)], "spearman")


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="paired"):
        correlate([(X, NOISY[1:])], "pearson")
