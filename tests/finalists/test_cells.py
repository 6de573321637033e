"""The best distinct cells of a score."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nasi_ray.config import EstimateConfig
from nasi_ray.errors import ConfigError
from nasi_ray.finalists.cells import best_cells, cell_key, refuse_too_many
from nasi_ray.nasi.budget import Budget
from nasi_ray.nasi.consensus import consensus_of
from nasi_ray.nasi.estimates import architecture_of
from nasi_ray.nasi.estimator import Estimate, GradientEstimate
from nasi_ray.nasi.scores import select_score
from nasi_ray.nasi.surrogate import additive
from nasi_ray.spaces import get_space
from nasi_ray.spaces.options import architecture_at, grid_shape
from tests.nasi.test_surrogate import random_surrogate

RELATIVE = EstimateConfig(objective="relative", estimator="second-order")
GRADIENT = EstimateConfig()


def estimate(space: str, seed: int, config: EstimateConfig = RELATIVE) -> Estimate:
    found = get_space(space)
    score = random_surrogate(grid_shape(found), seed)
    return select_score(score, None, found, Budget(found, config))


def gradient(space: str, seed: int) -> GradientEstimate:
    alpha = np.random.default_rng(seed).standard_normal(get_space(space).num_logits)
    return GradientEstimate(alpha=alpha, terms=alpha[None], nu=np.ones(1))


def test_where_all_cells_are_scored_they_are_the_best_of_all() -> None:
    space, one = get_space("nb201"), estimate("nb201", 0)
    assert one.score is not None
    grid = one.score.grid()
    found = best_cells([one], space, RELATIVE, 20)
    order = np.argsort(-grid, axis=None)[:20]
    cells = [architecture_at(space, np.array(np.unravel_index(i, grid.shape))) for i in order]
    assert [cell.architecture for cell in found] == cells
    assert [cell.rank for cell in found] == list(range(1, 21))
    assert [cell.score for cell in found] == pytest.approx(grid.ravel()[order] - grid.max())
    assert found[0].architecture == architecture_of(one, space, RELATIVE)


def test_configurations_that_are_one_cell_are_taken_once_at_their_best_score() -> None:
    space = get_space("s1")
    found = best_cells([estimate("s1", 1)], space, RELATIVE, 60)
    assert len({cell.key for cell in found}) == 60
    assert all(a.score >= b.score for a, b in itertools.pairwise(found))


@pytest.mark.parametrize(
    ("space", "make", "config"),
    [
        ("nb201", estimate, RELATIVE),
        ("nb201", gradient, GRADIENT),
        ("darts", gradient, GRADIENT),
    ],
)
def test_of_several_searches_the_first_is_the_consensus(
    space: str, make: Callable[[str, int], Estimate], config: EstimateConfig
) -> None:
    results = [make(space, seed) for seed in range(3)]
    found = best_cells(results, get_space(space), config, 2)
    agreed = consensus_of(results, get_space(space), config).architecture
    assert cell_key(found[0].architecture) == cell_key(agreed)


@pytest.mark.parametrize("pairing", ["rank", "shared-op"])
def test_darts_cells_are_decoded_and_the_first_is_the_searchs_own(pairing: Any) -> None:
    space, config = get_space("darts"), EstimateConfig(pairing=pairing)
    one = gradient("darts", 4)
    found = best_cells([one], space, config, 30)
    assert found[0].architecture == space.select(space.split(one.alpha), pairing=pairing)
    assert len({cell.key for cell in found}) == 30
    assert all(a.score >= b.score for a, b in itertools.pairwise(found))


def test_the_next_darts_cell_changes_what_costs_least() -> None:
    space = get_space("darts")
    alpha = np.concatenate([np.linspace(0, -3.0, d.size) for d in space.decisions])
    where = space.slices[0]
    alpha[where][2] = alpha[where][1] - 0.1  # the only close third choice
    one = GradientEstimate(alpha=alpha, terms=alpha[None], nu=np.ones(1))
    first, second = best_cells([one], space, GRADIENT, 2)
    assert second.score == pytest.approx(-0.05)
    edges = [cell.architecture.fields()["genotype"]["normal"] for cell in (first, second)]
    changed = [i for i, (a, b) in enumerate(zip(*edges, strict=True)) if a != b]
    assert changed == [1]
    assert edges[1][1][0] == space.decisions[0].candidates[2]


@pytest.mark.parametrize(("space", "limit"), [("nb201", 0.3e6), ("darts", 3e6)])
def test_all_fit_the_limit_of_size(space: str, limit: float) -> None:
    found, config = get_space(space), dataclasses.replace(RELATIVE, max_params=limit)
    for one in best_cells([estimate(space, 5, config)], found, config, 5):
        assert found.costs_of(one.architecture).get("params", 0) <= limit
        assert (one.architecture.num_params() or 0) <= limit


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match="finalists is 2686, and s1 has 2685 cells; give fewer"):
        refuse_too_many(2686, get_space("s1"))
    refuse_too_many(1000, get_space("darts"))
    space, tight = get_space("nb201"), dataclasses.replace(RELATIVE, max_params=8e4)
    score = additive([np.arange(n, dtype=float) for n in grid_shape(space)])
    one = select_score(score, None, space, Budget(space, tight))
    with pytest.raises(ConfigError, match="distinct cells of nb201 fit the limits of size"):
        best_cells([one], space, tight, 900)
