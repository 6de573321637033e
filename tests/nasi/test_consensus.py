"""The consensus of several runs: the best mean score, its votes, and how sure it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from nasi_ray.arrays import FloatArray
from nasi_ray.config import EstimateConfig
from nasi_ray.nasi.budget import Budget
from nasi_ray.nasi.consensus import consensus_of, mean_gradient
from nasi_ray.nasi.estimates import make_estimate
from nasi_ray.nasi.estimator import Estimate, GradientEstimate, first_choices, margins
from nasi_ray.nasi.scores import select_score, within_budget
from nasi_ray.nasi.surrogate import Surrogate, additive
from nasi_ray.spaces import get_space
from nasi_ray.spaces.options import grid_shape
from tests.nasi.test_estimates import NUM, SETTINGS, records_of
from tests.nasi.test_surrogate import random_surrogate
from tests.nasi.toy import ToySpace

RELATIVE = EstimateConfig(num_samples=NUM, objective="relative", estimator="second-order")
PANEL = EstimateConfig(num_samples=NUM, objective="panel", estimator="second-order")


def selected(score: Surrogate, config: EstimateConfig = RELATIVE) -> Estimate:
    space = ToySpace()
    return select_score(score, None, space, Budget(space, config))


def gradient(alpha: FloatArray) -> GradientEstimate:
    return GradientEstimate(alpha=alpha, terms=alpha[None], nu=np.ones(1))


def test_the_cell_has_the_best_mean_score_even_if_no_run_selects_it() -> None:
    space = get_space("nb201")
    name = space.decisions[0].name
    rest = [np.zeros(n) for n in grid_shape(space)[1:]]
    results = []
    for table in ([1.0, -1.0, 0.9, -1.0, -1.0], [-1.0, 1.0, 0.9, -1.0, -1.0]):
        score = additive([np.array(table), *rest])
        results.append(select_score(score, None, space, Budget(space, RELATIVE)))
    found = consensus_of(results, space, RELATIVE)
    assert found.estimate.position is not None
    assert found.estimate.position[0] == 2
    assert (found.votes[name], found.agreement[name]) == (0, 0.0)
    other = space.decisions[1].name
    assert (found.votes[other], found.agreement[other]) == (2, 1.0)


def test_the_mean_score_is_that_of_every_configuration() -> None:
    space = ToySpace()
    scores = [random_surrogate(grid_shape(space), seed) for seed in range(3)]
    found = consensus_of([selected(score) for score in scores], space, RELATIVE).estimate
    mean = np.mean([score.grid() for score in scores], axis=0)
    assert found.position is not None
    assert mean[tuple(found.position)] == pytest.approx(mean.max())
    assert found.draws is not None
    assert all(0 <= m.probability <= 1 for m in margins(found, space).values())


def test_equal_runs_agree_and_their_consensus_is_sure() -> None:
    space = ToySpace()
    result = selected(random_surrogate(grid_shape(space)))
    found = consensus_of([result] * 3, space, RELATIVE)
    np.testing.assert_allclose(found.estimate.alpha, result.alpha, atol=1e-12)
    assert set(found.votes.values()) == {3}
    assert set(found.agreement.values()) == {1.0}
    assert all(m.probability == 1.0 for m in margins(found.estimate, space).values())


def test_of_one_run_it_is_the_run_and_nothing_is_known_of_seeds() -> None:
    space = ToySpace()
    result = selected(random_surrogate(grid_shape(space)))
    found = consensus_of([result], space, RELATIVE)
    assert found.estimate.alpha.tobytes() == result.alpha.tobytes()
    assert all(math.isnan(m.probability) for m in margins(found.estimate, space).values())
    assert all(math.isnan(share) for share in found.agreement.values())


def test_scores_of_e_count_alike_whatever_the_scale_of_e() -> None:
    space = ToySpace()
    config = EstimateConfig(estimator="second-order")
    scores = [random_surrogate(grid_shape(space), seed) for seed in range(2)]
    one = consensus_of([selected(s, config) for s in scores], space, config)
    scaled = [scores[0], scores[1] * 1e6]
    other = consensus_of([selected(s, config) for s in scaled], space, config)
    assert one.architecture == other.architecture
    np.testing.assert_allclose(one.estimate.alpha, other.estimate.alpha, atol=1e-9)


def test_of_gradients_it_is_the_cell_of_the_mean_alpha() -> None:
    space, rng = ToySpace(), np.random.default_rng(0)
    results = [gradient(rng.standard_normal(space.num_logits)) for _ in range(4)]
    found = consensus_of(results, space, EstimateConfig())
    mean = np.mean([result.alpha for result in results], axis=0)
    assert found.estimate.alpha.tolist() == mean.tolist()
    assert found.architecture == space.select(space.split(mean))
    for name, taken in first_choices(mean, space).items():
        own = [first_choices(result.alpha, space)[name] for result in results]
        assert found.votes[name] == own.count(taken)


@pytest.mark.parametrize("config", [PANEL, EstimateConfig(num_samples=NUM)], ids=["panel", "e"])
def test_the_consensus_keeps_to_the_limits(config: Any) -> None:
    space = get_space("nb201")
    params = space.costs("params")
    assert params is not None
    limited = EstimateConfig(
        num_samples=NUM, objective=config.objective, estimator=config.estimator,
        max_params=float(np.median(params)),
    )  # fmt: skip
    result = make_estimate(records_of(space), space, config, SETTINGS, num_draws=0)
    found = consensus_of([result, result], space, limited)
    assert found.estimate.costs["params"] <= float(np.median(params))


def test_estimates_without_a_score_are_refused() -> None:
    space = ToySpace()
    with pytest.raises(ValueError, match="there is no result"):
        consensus_of([], space, RELATIVE)
    with pytest.raises(ValueError, match="a result has no score"):
        consensus_of([Estimate(alpha=np.zeros(space.num_logits))], space, RELATIVE)


def test_the_mean_gradient_has_the_spread_over_runs() -> None:
    alphas = np.random.default_rng(0).standard_normal((5, 3))
    found = mean_gradient([gradient(alpha) for alpha in alphas])
    assert found.terms.tolist() == alphas.tolist()
    assert within_budget(found, ToySpace(), Budget(ToySpace(), EstimateConfig())) is found
