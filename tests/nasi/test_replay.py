"""Estimates from stored straight-through gradients, against those from ∇_h e itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nasi_ray.arrays import FloatArray
from nasi_ray.config import SampleConfig
from nasi_ray.errors import ConfigError
from nasi_ray.nasi import replay as module
from nasi_ray.nasi.evaluator import Evaluator, SubNetworks, lost_sample
from nasi_ray.nasi.gradient import trace_norm_and_gradient
from nasi_ray.nasi.gumbel import softmax
from nasi_ray.nasi.replay import replay
from nasi_ray.records.rows import SampleTable
from nasi_ray.spaces.options import chosen_candidates

TEMPERATURE, SEED = 0.7, 3
TINY = SampleConfig(
    seed=SEED,
    temperature=TEMPERATURE,
    init_channels=2,
    num_cells=3,
    batch_size=3,
    image_size=8,
    num_classes=3,
)
INDICES = (0, 1, 5)


def jacobian(p: FloatArray) -> FloatArray:
    found: FloatArray = np.diag(p) - np.outer(p, p)
    return found


class Case:
    """Samples of a space, and ∇_h e of each, summed over the cells."""

    def __init__(self, space: str) -> None:
        config = replace(TINY, space=space)
        self.networks = SubNetworks(config, None, device="cpu")
        self.space = self.networks.space
        evaluator = Evaluator(self.networks)
        self.table = SampleTable.from_samples(map(evaluator, INDICES), self.space.num_logits)
        self.h = np.stack([self._h(t) for t in INDICES])
        self.taken = chosen_candidates(self.table.choices, self.space)

    def _h(self, index: int) -> FloatArray:
        architecture, x, y = self.networks.at(index)
        _, gradients = trace_norm_and_gradient(
            self.networks.net, x, y, loss=self.networks.loss, chosen=architecture.at
        )
        h = np.zeros(self.space.num_logits)
        for (_, decision), g in gradients.items():
            h[self.space.slices[decision]] += g.numpy()
        return h

    def p(self, index: int, decision: int) -> FloatArray:
        return softmax(self.networks.architecture(index).perturbed[0, decision] / TEMPERATURE)

    def replayed(self, estimator: str) -> FloatArray:
        return replay(self.table, self.space, estimator, seed=SEED, temperature=TEMPERATURE).grad


@pytest.fixture(scope="module", params=["s1", "darts"])
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def assert_close(found: FloatArray, expected: FloatArray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())


def test_the_stored_gradient_is_the_straight_through_one(case: Case) -> None:
    for row, t in enumerate(INDICES):
        for d, (decision, where) in enumerate(
            zip(case.space.decisions, case.space.slices, strict=True)
        ):
            scale = decision.num_chosen / TEMPERATURE
            expected = scale * jacobian(case.p(t, d)) @ case.h[row, where]
            assert_close(case.table.grad[row, where], expected)


def test_reinmax_is_its_formula(case: Case) -> None:
    found = case.replayed("reinmax")
    for row in range(len(INDICES)):
        for decision, where in zip(case.space.decisions, case.space.slices, strict=True):
            k, size = decision.num_chosen, decision.size
            h, taken = case.h[row, where], case.taken[row, where] / k
            uniform = np.full(size, 1 / size)
            both = jacobian((taken + uniform) / 2)
            assert_close(found[row, where], k * (2 * both - jacobian(uniform) / 2) @ h)
    assert np.abs(found).max() > 0


def test_gumbel_rao_sees_the_choice_and_the_gradient_alone(case: Case) -> None:
    found = case.replayed("gumbel-rao")
    index = np.array(INDICES)
    for decision, where in zip(case.space.decisions, case.space.slices, strict=True):
        k = decision.num_chosen
        direct = module._gumbel_rao(
            case.taken[:, where] / k, case.h[:, where], index, SEED, TEMPERATURE, where.start
        )
        assert_close(found[:, where], k * direct)


@pytest.mark.parametrize(("size", "k"), [(3, 1), (4, 2), (5, 3)])
def test_gumbel_rao_averages_over_noise_that_makes_the_same_choice(
    size: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NUM_RAO_DRAWS", 40_000)
    rng = np.random.default_rng(0)
    h = rng.standard_normal(size)
    taken = np.zeros(size)
    taken[rng.permutation(size)[:k]] = 1 / k
    args = (np.array([4]), SEED, TEMPERATURE, 0)
    (found,) = module._gumbel_rao(taken[None], h[None], *args)
    # By rejection: of free noise, what makes that choice.
    noise = rng.gumbel(size=(400_000, size))
    first = np.sort(np.argsort(-noise, axis=1)[:, :k], axis=1)
    kept = noise[(first == np.flatnonzero(taken)).all(axis=1)]
    terms = np.array([jacobian(softmax(g / TEMPERATURE)) @ h / TEMPERATURE for g in kept[:20_000]])
    error = terms.std(axis=0) * np.sqrt(1 / len(terms) + 1 / 40_000)
    assert len(terms) == 20_000
    np.testing.assert_array_less(np.abs(found - terms.mean(axis=0)), 5 * error)


def test_decisions_without_alternatives_and_bad_samples_stay_as_they_are(case: Case) -> None:
    samples = [lost_sample(case.space.name, 9, "gone")]
    table = SampleTable.from_samples(samples, case.space.num_logits)
    for estimator in ("reinmax", "gumbel-rao"):
        found = replay(table, case.space, estimator, seed=SEED, temperature=TEMPERATURE)
        assert np.isnan(found.grad).all()
        for decision, where in zip(case.space.decisions, case.space.slices, strict=True):
            if decision.size == decision.num_chosen == 1:
                assert (case.replayed(estimator)[:, where] == 0).all()


def test_every_call_gives_the_same_and_leaves_the_samples_alone(case: Case) -> None:
    before = case.table.grad.tobytes()
    assert case.replayed("gumbel-rao").tobytes() == case.replayed("gumbel-rao").tobytes()
    assert case.table.grad.tobytes() == before


def test_what_cannot_be_replayed_is_named(case: Case) -> None:
    with pytest.raises(ConfigError, match="estimator is 'best'; reinmax and gumbel-rao can"):
        case.replayed("best")
    per_cell = replace(TINY, space=case.space.name, sample_per="cell")
    evaluator = Evaluator(SubNetworks(per_cell, None, device="cpu"))
    table = SampleTable.from_samples([evaluator(0)], case.space.num_logits)
    with pytest.raises(ConfigError, match=r"each cell had its own draw.*use --sample-per step"):
        replay(table, case.space, "reinmax", seed=SEED, temperature=TEMPERATURE)
