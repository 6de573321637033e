"""Draws made many at once against the estimate repeated on the samples drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nasi_ray.arrays import average_ranks, drawn_ranks
from nasi_ray.config import PATH, EstimateConfig
from nasi_ray.nasi import bootstrap
from nasi_ray.nasi import surrogate as module
from nasi_ray.nasi.bootstrap import drawn_counts, drawn_rows, gradient_draws
from nasi_ray.nasi.estimates import make_estimate
from nasi_ray.nasi.estimator import estimate, margins, outcomes
from nasi_ray.nasi.objectives import OBJECTIVES, drawn_rewards, rewards
from nasi_ray.nasi.selection import EnumeratedAlpha, select_enumerated
from nasi_ray.nasi.surrogate import Design, standardized_sum, sum_of
from nasi_ray.records.rows import SampleTable
from nasi_ray.spaces import get_space
from nasi_ray.spaces.base import SearchSpace
from nasi_ray.spaces.options import grid_shape
from tests.nasi.test_estimates import NUM, SETTINGS, records_of
from tests.nasi.test_surrogate import random_choices, random_surrogate
from tests.nasi.toy import ToySpace


def test_draws_are_the_same_at_every_call_and_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(drawn_rows(7, 9)))
    assert whole.shape == (9, 7)
    monkeypatch.setattr(bootstrap, "_BLOCK", 20)
    assert np.concatenate(list(drawn_rows(7, 9))).tolist() == whole.tolist()
    counts = np.concatenate(list(drawn_counts(7, 9)))
    assert counts.tolist() == [np.bincount(row, minlength=7).tolist() for row in whole]
    assert list(drawn_rows(7, 0)) == []


def test_ranks_of_draws_are_those_of_the_values_drawn() -> None:
    rng = np.random.default_rng(0)
    values = np.append(rng.integers(6, size=30).astype(float), -np.inf)
    (rows,) = drawn_rows(len(values), 8)
    (counts,) = drawn_counts(len(values), 8)
    for row, ranks in zip(rows, drawn_ranks(values, counts), strict=True):
        assert ranks[row].tolist() == average_ranks(values[row]).tolist()


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_rewards_of_draws_are_those_of_the_samples_drawn(name: str) -> None:
    table = records_of(ToySpace()).measurements[PATH]
    values = {key: column[~table.lost] for key, column in table.values.items()}
    objective, num = OBJECTIVES[name], NUM - 1
    (rows,) = drawn_rows(num, 6)
    (counts,) = drawn_counts(num, 6)
    found = drawn_rewards(objective, values, counts)
    for row, one in zip(rows, found, strict=True):
        there = {key: column[row] for key, column in values.items()}
        known = np.isfinite(list(there.values())).all(axis=0) | (objective.scale == "rank")
        np.testing.assert_allclose(one[row][known], rewards(objective, there)[known], atol=1e-12)


@pytest.mark.parametrize("path", ["basis", "sparse"])
@pytest.mark.parametrize("standardized", [True, False])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("space", [ToySpace(), get_space("s2")], ids=["toy", "s2"])
def test_fits_of_draws_are_the_fits_of_the_samples_drawn(
    space: SearchSpace, order: int, standardized: bool, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path == "sparse":
        monkeypatch.setattr(module, "MAX_DENSE_SAMPLES", 0)
    num = 50
    design = Design(random_choices(space, num), space, order=order)
    u = np.random.default_rng(1).standard_normal((num, 2))
    u[:, 1] *= 5.0
    (rows,) = drawn_rows(num, 3)
    (counts,) = drawn_counts(num, 3)
    targets = np.broadcast_to(u, (3, *u.shape))
    found = design.fit_draws(targets, counts, ridge=3.0, standardized=standardized)
    for row, one in zip(rows, found, strict=True):
        fits = design.fit(u[row], ridge=3.0, rows=row)
        expected = standardized_sum(fits) if standardized else sum_of(fits)
        positions = np.random.default_rng(2).integers(grid_shape(space), size=(50, len(one.unary)))
        difference = one.at(positions) - expected.at(positions)
        np.testing.assert_allclose(difference, difference.mean(), atol=1e-6)


@pytest.mark.parametrize("name", ["s1", "nb201"])
@pytest.mark.parametrize("limited", [True, False])
def test_alpha_in_single_precision_is_that_of_the_selection(name: str, limited: bool) -> None:
    space = get_space(name)
    known = space.costs("params")
    assert known is not None
    known = known / known.std()
    allowed = known < np.median(known) if limited else None
    alpha_of = EnumeratedAlpha(space, known=known, allowed=allowed)
    for seed in range(3):
        score = random_surrogate(grid_shape(space), seed)
        expected = select_enumerated(score.grid() + known, space, allowed=allowed).alpha
        np.testing.assert_allclose(alpha_of(score), expected, atol=1e-5)


def repeated(table: SampleTable, rows: Any) -> SampleTable:
    """The samples drawn, as if they had been recorded in this order."""
    return replace(
        table,
        index=np.arange(len(rows)),
        ok=table.ok[rows],
        trace_norm=table.trace_norm[rows],
        grad=table.grad[rows],
        seconds=table.seconds[rows],
        choices=table.choices[rows],
    )


@pytest.mark.parametrize("method", ["fix", "ada"])
@pytest.mark.parametrize("normalize", ["max", "each"])
@pytest.mark.parametrize("nu", [1.0, "auto", "q30", "sweep"])
def test_draws_of_the_gradient_repeat_the_whole_estimate(
    nu: Any, normalize: Any, method: Any
) -> None:
    table = records_of(ToySpace()).samples
    assert table is not None
    config = EstimateConfig(
        num_samples=NUM, nu=nu, normalize=normalize, method=method, mu=1.5, xi=0.3
    )
    found = gradient_draws(estimate(table, config), table, config, 5)
    assert found is not None
    (rows,) = drawn_rows(NUM, 5)
    for row, alpha in zip(rows, found, strict=True):
        expected = estimate(repeated(table, row), config).alpha
        np.testing.assert_allclose(alpha, expected, rtol=1e-9, atol=1e-15)


def test_one_sample_or_no_draw_gives_no_draws() -> None:
    table = records_of(ToySpace()).samples
    assert table is not None
    config = EstimateConfig(num_samples=1)
    assert gradient_draws(estimate(table, config), table, config, 5) is None
    config = EstimateConfig(num_samples=NUM)
    assert gradient_draws(estimate(table, config), table, config, 0) is None


@pytest.mark.parametrize("estimator", ["straight-through", "reinmax", "second-order"])
def test_probabilities_come_from_the_draws_of_an_estimate(estimator: Any) -> None:
    space = get_space("s1")
    config = EstimateConfig(num_samples=NUM, nu="sweep", estimator=estimator)
    found = make_estimate(records_of(space), space, config, SETTINGS, num_draws=40)
    assert found.draws is not None
    assert found.draws.shape == (40, space.num_logits)
    where = space.slices[0]
    first = int(np.argmax(found.alpha[where]))
    drawn = outcomes(found)
    assert drawn is not None
    share = float((drawn[:, where].argmax(axis=1) == first).mean())
    assert margins(found, space)[space.decisions[0].name].probability == pytest.approx(share)
