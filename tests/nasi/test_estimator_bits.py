"""The estimate is computed in place and in blocks; every bit is that of the formula in one go."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from nasi_ray.config import EstimateConfig
from nasi_ray.nasi import estimator
from nasi_ray.nasi.estimator import _BLOCK, GradientEstimate, estimate
from nasi_ray.records.rows import SampleTable

CONFIGS = (
    EstimateConfig(nu=1.0),
    EstimateConfig(nu=0.0, mu=1.0),
    EstimateConfig(nu=1.5, mu=1.0, norm_epsilon=1e-5, xi=0.3),
    EstimateConfig(method="ada", nu=2.0, mu=0.5, xi=7.0),
    EstimateConfig(nu="auto", normalize="each"),
    EstimateConfig(nu="q30", mu=1.0, normalize="each"),
)


def random_table(num_samples: int, num_logits: int, seed: int = 0) -> SampleTable:
    rng = np.random.default_rng([num_samples, num_logits, seed])
    ok = rng.random(num_samples) < 0.95
    ok[0] = True
    grad = rng.standard_normal((num_samples, num_logits)) * rng.lognormal(
        sigma=3.0, size=(num_samples, 1)
    )
    grad[rng.random(grad.shape) < 0.1] = 0.0
    grad[rng.random(num_samples) < 0.05] = 0.0
    grad[rng.random(num_samples) < 0.05] *= 1e-200  # their squares are zero, they are not
    grad[0] *= 1e-200
    grad[~ok] = np.nan
    trace_norm = np.where(ok, rng.lognormal(size=num_samples), np.nan)
    return SampleTable(
        index=np.sort(rng.permutation(2 * num_samples)[:num_samples]),
        ok=ok,
        trace_norm=trace_norm,
        grad=grad,
        seconds=np.zeros(num_samples),
        choices=np.empty((num_samples, 0), dtype=np.int16),
    )


def in_one_go(table: SampleTable, config: EstimateConfig) -> GradientEstimate:
    """The formulas over whole arrays, as they are written."""
    used = table.below(config.num_samples)
    e, grad = used.trace_norm[used.ok], used.grad[used.ok]
    nu = estimator._constraint(e, config, table)
    g = (1.0 - config.mu * (e > nu))[:, None] * grad
    norms = np.sqrt((g**2).sum(axis=1) + config.norm_epsilon)
    divisor = norms if config.normalize == "each" else np.maximum.accumulate(norms)
    divisor = divisor[:, None]
    terms = config.xi * np.divide(g, divisor, out=np.zeros_like(g), where=divisor > 0)
    return GradientEstimate(alpha=terms.sum(axis=0) / len(e), terms=terms, nu=nu)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(
    ("num_samples", "num_logits"),
    [(1, 84), (2, 84), (50, 84), (777, 7), (3000, 84), (500, 1), (40, 300)],
)
@pytest.mark.parametrize("block", [1, 2, 37, _BLOCK])
def test_in_place_and_in_blocks_every_bit_is_the_same(
    config: EstimateConfig,
    num_samples: int,
    num_logits: int,
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(estimator, "_BLOCK", block)
    for seed, share in ((0, 1.0), (1, 0.4)):
        table = random_table(num_samples, num_logits, seed)
        largest = max(int(table.index[0]), int(2 * share * num_samples)) + 1
        config = replace(config, num_samples=largest)
        before = table.grad.tobytes()
        found, expected = estimate(table, config), in_one_go(table, config)
        for name in ("alpha", "terms", "nu"):
            assert getattr(found, name).tobytes() == getattr(expected, name).tobytes(), name
        assert table.grad.tobytes() == before


def test_more_samples_than_a_block_holds_keep_every_bit() -> None:
    table = random_table(2 * _BLOCK + 5, 84)
    config = EstimateConfig(nu=1.0, num_samples=4 * _BLOCK + 10)
    assert estimate(table, config).alpha.tobytes() == in_one_go(table, config).alpha.tobytes()


@pytest.mark.parametrize("nu", [1.0, "sweep"])
def test_it_takes_the_memory_of_the_terms_and_little_more(nu: float | str) -> None:
    table = random_table(4 * _BLOCK, 84)
    tracemalloc.start()
    try:
        result = estimate(table, EstimateConfig(nu=nu, num_samples=8 * _BLOCK))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.6 * result.terms.nbytes  # in one go, 3.05 times
