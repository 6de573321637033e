from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nasi_ray.statistics import COEFFICIENTS, Kind, percentile_interval

SCIPY = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}


@pytest.mark.parametrize("kind", ["pearson", "spearman", "kendall"])
def test_every_row_has_scipys_coefficient(kind: Kind) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, size=(2, 20, 15)).astype(np.float64)  # with ties
    expected = [SCIPY[kind](a, b).statistic for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(COEFFICIENTS[kind](x, y), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["pearson", "spearman", "kendall"])
def test_a_constant_row_has_none(kind: Kind) -> None:
    x = np.array([[1.0, 2.0, 3.0], [0.1, 0.1, 0.1]])
    found = COEFFICIENTS[kind](x, x)
    assert found[0] == pytest.approx(1)
    assert np.isnan(found[1])


def test_draws_without_a_coefficient_are_left_out_of_the_interval() -> None:
    draws = np.append(np.linspace(0, 1, 101), np.nan)
    assert percentile_interval(draws) == pytest.approx((0.025, 0.975))
    assert percentile_interval(np.array([np.nan])) is None
