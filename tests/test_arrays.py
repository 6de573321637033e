import numpy as np
import pytest
from scipy.stats import rankdata

from nasi_ray.arrays import average_ranks


@pytest.mark.parametrize("num_values", [0, 1, 2, 50])
def test_ranks_are_scipys(num_values: int) -> None:
    rng = np.random.default_rng(num_values)
    for values in (
        rng.normal(size=num_values),
        rng.integers(4, size=num_values),
        np.where(rng.random(num_values) < 0.5, -np.inf, rng.normal(size=num_values)),
    ):
        np.testing.assert_array_equal(average_ranks(values), rankdata(values))
