"""A gradient's estimate within limits of size: α, margins and draws of the sum of its logits."""

from __future__ import annotations

import dataclasses
import math
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nasi_ray.arrays import FloatArray
from nasi_ray.config import EstimateConfig
from nasi_ray.nasi.bootstrap import gradient_draws
from nasi_ray.nasi.budget import Budget
from nasi_ray.nasi.consensus import consensus_of
from nasi_ray.nasi.estimates import architecture_of, make_estimate, selected_cells
from nasi_ray.nasi.estimator import (
    GradientEstimate,
    drawn_means,
    estimate,
    first_choices,
    kept_margins,
    margins,
    outcomes,
)
from nasi_ray.nasi.scores import within_budget
from nasi_ray.spaces import get_space
from nasi_ray.spaces.base import SearchSpace
from tests.nasi.test_estimates import NUM, SETTINGS, records_of

NB201, DARTS = get_space("nb201"), get_space("darts")
NUM_DRAWS = 30
PLAIN: dict[str, Any] = {"num_samples": NUM, "nu": "sweep", "normalize": "each"}


def size_quantile(share: float) -> float:
    params = NB201.costs("params")
    assert params is not None
    return float(np.quantile(params, share, method="higher"))


def is_allowed(limit: float) -> npt.NDArray[np.bool_]:
    """Of every cell, an axis for each edge."""
    params = NB201.costs("params")
    assert params is not None
    return params <= limit


def sums_of_logits(alpha: FloatArray) -> FloatArray:
    """The score of every cell of nb201, whose options are its candidates."""
    return np.asarray(reduce(np.add.outer, NB201.split(alpha).values()))


def limited(limit: float) -> tuple[EstimateConfig, GradientEstimate]:
    config = EstimateConfig(**PLAIN, max_params=limit)
    found = make_estimate(records_of(NB201), NB201, config, SETTINGS, num_draws=NUM_DRAWS)
    assert isinstance(found, GradientEstimate)
    return config, found


def of_alpha(
    alpha: FloatArray, *, noise: float, num_terms: int = 40, seed: int = 0
) -> GradientEstimate:
    """An estimate whose terms spread about α."""
    terms = alpha + noise * np.random.default_rng(seed).standard_normal((num_terms, len(alpha)))
    return GradientEstimate(alpha=terms.mean(axis=0), terms=terms, nu=np.ones(num_terms))


def within(
    found: GradientEstimate, space: SearchSpace, limit: float | None, **more: Any
) -> GradientEstimate:
    return within_budget(found, space, Budget(space, EstimateConfig(max_params=limit)), **more)


def best_of_each(alpha: FloatArray, space: SearchSpace) -> list[int]:
    return [int(np.argmax(alpha[where])) for where in space.slices]


@pytest.mark.parametrize("share", [0.6, 0.2, 0.02])
def test_margins_are_what_the_best_cell_without_the_first_choice_costs(share: float) -> None:
    limit = size_quantile(share)
    config, found = limited(limit)
    samples = records_of(NB201).samples
    assert samples is not None
    without_limit = estimate(samples, EstimateConfig(**PLAIN))
    assert found.alpha_star.tobytes() == without_limit.alpha.tobytes()
    score = np.where(is_allowed(limit), sums_of_logits(without_limit.alpha), -np.inf)
    best = np.unravel_index(int(np.argmax(score)), score.shape)
    assert found.position is not None
    assert found.position.tolist() == list(map(int, best))
    taken = [(int(option),) for option in best]
    assert list(first_choices(found.alpha, NB201).values()) == taken
    for axis, margin in enumerate(margins(found, NB201).values()):
        others = np.delete(score, best[axis], axis=axis)
        assert margin.value >= 0
        assert margin.value == pytest.approx(float(score.max() - others.max()), abs=1e-9)
    (cell,) = selected_cells(records_of(NB201), NB201, [config], SETTINGS)
    assert cell == architecture_of(found, NB201, config)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_draws_are_of_the_best_allowed_cells_of_drawn_samples(share: float) -> None:
    limit = size_quantile(share)
    _, found = limited(limit)
    plain, samples = EstimateConfig(**PLAIN), records_of(NB201).samples
    assert samples is not None
    drawn = gradient_draws(estimate(samples, plain), samples, plain, NUM_DRAWS)
    assert drawn is not None
    assert found.draws is not None
    assert found.draws.shape == drawn.shape
    allowed = is_allowed(limit)
    for alpha, one in zip(found.draws, drawn, strict=True):
        score = np.where(allowed, sums_of_logits(one), -np.inf)
        best = np.unravel_index(int(np.argmax(score)), score.shape)
        assert best_of_each(alpha, NB201) == list(map(int, best))
        assert [float(alpha[where].max()) for where in NB201.slices] == [0.0] * len(best)
        assert (alpha <= 0).all()
    spread = outcomes(found)
    assert spread is not None
    for (name, margin), where in zip(margins(found, NB201).items(), NB201.slices, strict=True):
        one, other = np.argsort(-found.alpha[where], kind="stable")[:2]
        draws = found.draws[:, where]
        error = float((draws[:, one] - draws[:, other]).std(ddof=1))
        assert margin.standard_error == pytest.approx(error), name
        share_of_it = float((spread[:, where].argmax(axis=1) == one).mean())
        assert margin.probability == pytest.approx(share_of_it), name


def test_a_candidate_that_no_allowed_cell_has_is_in_no_draw() -> None:
    _, found = limited(size_quantile(0.0))
    convs = [i for i, op in enumerate(NB201.decisions[0].candidates) if "conv" in op]
    assert found.draws is not None
    for where in NB201.slices:
        assert np.isneginf(found.alpha[where][convs]).all()
        assert np.isneginf(found.draws[:, where][:, convs]).all()
        assert (found.draws[:, where].max(axis=1) == 0).all()
    for name, margin in margins(found, NB201).items():
        assert math.isfinite(margin.value), name
        assert math.isfinite(margin.standard_error), name
        assert 0 <= margin.probability <= 1


def test_as_the_limit_tightens_the_cell_within_it_is_what_is_sure() -> None:
    alpha = np.random.default_rng(3).standard_normal(NB201.num_logits)
    # So that the best cell without a limit is the largest.
    alpha[[where.start + 3 for where in NB201.slices]] += 9.0
    free = of_alpha(alpha, noise=1e-4)
    cells = []
    for share in (1.0, 0.5, 0.2, 0.05):
        limit = size_quantile(share)
        found = within(free, NB201, limit)
        assert found.position is not None
        cells.append(tuple(found.position.tolist()))
        assert found.costs["params"] <= limit
        assert [i for (i,) in first_choices(found.alpha, NB201).values()] == list(cells[-1])
        sure = {margin.probability for margin in margins(found, NB201).values()}
        assert sure == {1.0}, share
    assert len(set(cells)) >= 3


def test_without_draws_nothing_is_known_of_how_sure_a_limited_cell_is() -> None:
    config = EstimateConfig(**PLAIN, max_params=size_quantile(0.2))
    found = make_estimate(records_of(NB201), NB201, config, SETTINGS, num_draws=0)
    assert found.draws is None
    assert outcomes(found) is None
    for margin in margins(found, NB201).values():
        assert math.isnan(margin.standard_error)
        assert math.isnan(margin.probability)
    few = of_alpha(np.arange(NB201.num_logits, dtype=float), noise=0.1, num_terms=1)
    assert within(few, NB201, size_quantile(0.2)).draws is None


@pytest.mark.parametrize("share", [1.0, 0.8, 0.65])
def test_the_price_of_size_does_not_make_a_cell_of_darts_less_sure(share: float) -> None:
    alpha = np.random.default_rng(0).standard_normal(DARTS.num_logits)
    free = of_alpha(alpha, noise=1e-4)
    largest = DARTS.costs_of(DARTS.select(DARTS.split(free.alpha)))["params"]
    limit = share * largest
    found = within(free, DARTS, limit)
    config = EstimateConfig(max_params=limit)
    cell = architecture_of(found, DARTS, config)
    assert DARTS.costs_of(cell)["params"] <= limit
    assert (cell == DARTS.select(DARTS.split(free.alpha))) == (share == 1.0)
    assert all(margin.value >= 0 for margin in margins(found, DARTS).values())
    for kind in (margins, kept_margins):
        # The limit is so near to some cells that a draw may take another one.
        sure = [margin.probability for margin in kind(found, DARTS).values()]
        assert min(sure) > 0.8
    assert found.draws is not None
    assert (found.draws <= 0).all()
    for where in DARTS.slices:
        assert (found.draws[:, where].max(axis=1) == 0).all()
    for row in found.draws[:20]:
        assert DARTS.costs_of(DARTS.select(DARTS.split(row)))["params"] <= limit


def test_each_draw_of_darts_pays_its_own_price() -> None:
    """With the first score's price most draws would be too large, or smaller than they must be."""
    alpha = np.random.default_rng(0).standard_normal(DARTS.num_logits)
    free = of_alpha(alpha, noise=0.1)
    limit = 0.8 * DARTS.costs_of(DARTS.select(DARTS.split(free.alpha)))["params"]
    raw = drawn_means(free.terms)
    assert raw is not None
    found = within(free, DARTS, limit, draws=raw[:30]).draws
    assert found is not None
    same = []
    for row, drawn in zip(found, raw, strict=False):
        alone = within(dataclasses.replace(free, alpha=drawn), DARTS, limit, with_draws=False)
        one, other = (first_choices(a, DARTS) for a in (row, alone.alpha))
        same.append(np.mean([one[name] == other[name] for name in one]))
    assert np.mean(same) > 0.97


def test_a_limit_that_every_cell_fits_changes_no_choice() -> None:
    config, found = limited(size_quantile(1.0))
    free = make_estimate(records_of(NB201), NB201, EstimateConfig(**PLAIN), SETTINGS, num_draws=5)
    assert first_choices(found.alpha, NB201) == first_choices(free.alpha, NB201)
    for name, margin in margins(free, NB201).items():
        assert margins(found, NB201)[name].value == pytest.approx(margin.value, abs=1e-9)
    assert architecture_of(found, NB201, config) == architecture_of(free, NB201, config)


@pytest.mark.parametrize("name", ["nb201", "s1", "darts"])
@pytest.mark.parametrize("num_draws", [0, 7])
def test_without_a_limit_everything_is_that_of_the_gradient(name: str, num_draws: int) -> None:
    space, config = get_space(name), EstimateConfig(**PLAIN)
    records = records_of(space)
    assert records.samples is not None
    found = make_estimate(records, space, config, SETTINGS, num_draws=num_draws)
    plain = estimate(records.samples, config)
    draws = gradient_draws(plain, records.samples, config, num_draws)
    expected = GradientEstimate(alpha=plain.alpha, terms=plain.terms, nu=plain.nu, draws=draws)
    assert isinstance(found, GradientEstimate)
    assert not found.is_limited
    assert found.alpha.tobytes() == plain.alpha.tobytes() == found.alpha_star.tobytes()
    if draws is None:
        assert found.draws is None
    else:
        assert found.draws is not None
        assert found.draws.tobytes() == draws.tobytes()
    assert margins(found, space) == margins(expected, space)


def test_the_consensus_of_limited_runs_is_that_of_their_mean_gradient() -> None:
    limit = size_quantile(0.2)
    rng = np.random.default_rng(5)
    free = [of_alpha(rng.standard_normal(NB201.num_logits), noise=0.3, seed=s) for s in range(3)]
    runs = [within(one, NB201, limit) for one in free]
    found = consensus_of(runs, NB201, EstimateConfig(max_params=limit)).estimate
    assert isinstance(found, GradientEstimate)
    assert found.terms.tolist() == [one.alpha.tolist() for one in free]
    mean = np.mean([one.alpha for one in free], axis=0)
    allowed = is_allowed(limit)
    score = np.where(allowed, sums_of_logits(mean), -np.inf)
    assert found.position is not None
    assert score[tuple(found.position)] == score.max()
    assert best_of_each(found.alpha, NB201) == found.position.tolist()
    assert found.draws is not None
    assert len(found.draws) > 1
    for row in found.draws:
        assert allowed[tuple(best_of_each(row, NB201))]
    for margin in margins(found, NB201).values():
        assert margin.value >= 0
        assert 0 <= margin.probability <= 1
    unlimited = consensus_of(free, NB201, EstimateConfig(max_params=limit)).estimate
    assert unlimited.alpha.tobytes() == found.alpha.tobytes()
