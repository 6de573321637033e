"""How sure a cell is: outcomes, runners-up, checkpoints, and where a search may end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nasi_ray.arrays import FloatArray
from nasi_ray.config import EstimateConfig
from nasi_ray.nasi import confidence
from nasi_ray.nasi.confidence import (
    checkpoints,
    runners_up,
    stands_at,
    stopping_point,
    unchanged_since,
)
from nasi_ray.nasi.estimates import make_estimate, selected_cells
from nasi_ray.nasi.estimator import Estimate, margins, outcomes
from nasi_ray.records.rows import Sample, SampleTable, SearchRecords
from nasi_ray.spaces import get_space
from tests.nasi.test_estimates import NUM, SETTINGS, records_of

S1 = get_space("s1")
RELATIVE = EstimateConfig(num_samples=NUM, objective="relative", estimator="score-function")


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confidence, "FIRST_CHECKPOINT", 10)


def test_checkpoints_are_powers_of_the_root_of_two_and_the_last() -> None:
    assert checkpoints(400) == (50, 71, 100, 141, 200, 283, 400)
    assert checkpoints(401) == (50, 71, 100, 141, 200, 283, 400, 401)
    assert checkpoints(50) == (50,)
    assert checkpoints(1) == (1,)


def test_outcomes_spread_twice_as_much_as_draws() -> None:
    rng = np.random.default_rng(0)
    alpha = np.array([0.0, -1.0, -np.inf])
    draws = np.minimum(alpha + rng.standard_normal((500, 3)), 0.0)
    draws[:, 2] = -np.inf
    found = outcomes(Estimate(alpha=alpha, draws=draws))
    assert found is not None
    spread = np.sqrt(2) * (draws[:, :2] - alpha[:2])
    np.testing.assert_allclose(found[:, :2] - alpha[:2], spread, atol=1e-12)
    assert np.isneginf(found[:, 2]).all()
    assert outcomes(Estimate(alpha=alpha)) is None


def test_the_probability_is_how_often_another_seed_chooses_the_same() -> None:
    """Two candidates whose true difference is spread widely, against its error of 1."""
    rng = np.random.default_rng(1)
    difference = rng.normal(scale=4.0, size=4000)
    one, other = difference + rng.standard_normal((2, 4000))
    alpha = np.stack([one, np.zeros(4000)], axis=1)
    draws = np.repeat(alpha[:, None], 200, axis=1)
    draws[:, :, 0] += rng.standard_normal((4000, 200))
    pairs = zip(alpha, draws, strict=True)
    spread = np.array([outcomes(Estimate(alpha=a, draws=d)) for a, d in pairs])

    def shares(found: FloatArray) -> FloatArray:
        is_first: FloatArray = (found.argmax(axis=2) == alpha.argmax(axis=1)[:, None]) * 1.0
        mean: FloatArray = is_first.mean(axis=1)
        return mean

    said, without = shares(spread), shares(draws)
    is_same = (other > 0) == (one > 0)
    middle = (said > 0.8) & (said < 0.95)
    assert is_same[middle].mean() == pytest.approx(said[middle].mean(), abs=0.04)
    assert without[middle].mean() > is_same[middle].mean() + 0.06


def test_the_runner_up_is_what_most_outcomes_take_instead() -> None:
    space = get_space("nb201")
    alpha = np.tile([0.0, -1.0, -2.0, -3.0, -4.0], len(space.decisions))
    draws = np.repeat(alpha[None], 10, axis=0)
    draws[:3, 4], draws[3:5, 2] = 9.0, 9.0
    found = runners_up(Estimate(alpha=alpha, draws=draws), space)
    assert found[space.decisions[0].name] == (4,)
    assert found[space.decisions[1].name] == (1,)
    assert runners_up(Estimate(alpha=alpha), space)[space.decisions[0].name] == (1,)


def test_where_two_are_taken_the_runner_up_replaces_the_second() -> None:
    name = next(d.name for d in S1.decisions if d.num_chosen == 2 and d.size > 2)
    at = [d.name for d in S1.decisions].index(name)
    alpha = np.zeros(S1.num_logits)
    alpha[S1.slices[at]] = -np.arange(S1.decisions[at].size, dtype=float)
    assert runners_up(Estimate(alpha=alpha), S1)[name] == (0, 2)


@pytest.mark.usefixtures("early")
def test_a_search_ends_at_the_first_stable_checkpoint_whatever_comes_after() -> None:
    records = records_of(S1)
    found = {
        p: stopping_point(records, S1, RELATIVE, SETTINGS, probability=p) for p in (0.01, 0.3, 1.0)
    }
    assert found[0.01] == 10
    assert found[0.01] <= found[0.3] <= found[1.0] == NUM
    for probability, count in found.items():
        for checkpoint in checkpoints(NUM):
            asked = replace(RELATIVE, num_samples=checkpoint)
            is_stable = stands_at(records, S1, asked, SETTINGS, probability=probability)
            assert is_stable == (checkpoint == count) or checkpoint >= count
        first = records.below(count)
        assert stopping_point(first, S1, RELATIVE, SETTINGS, probability=probability) == count


def test_a_checkpoint_without_a_good_sample_is_not_stable() -> None:
    lost = Sample(
        index=0, status="lost", trace_norm=np.nan, error="gone",
        grad=np.full(S1.num_logits, np.nan), choices=np.array([], dtype=np.int64),
    )  # fmt: skip
    records = SearchRecords(samples=SampleTable.from_samples([lost], S1.num_logits))
    config = EstimateConfig(num_samples=1)
    assert not stands_at(records, S1, config, SETTINGS, probability=0.1)


@pytest.mark.usefixtures("early")
def test_a_cell_is_unchanged_since_the_first_of_the_last_equal_checkpoints() -> None:
    records = records_of(S1)
    since = unchanged_since(records, S1, RELATIVE, SETTINGS)
    counts = checkpoints(NUM)
    configs = [replace(RELATIVE, num_samples=count) for count in counts]
    cells = [cell.to_string() for cell in selected_cells(records, S1, configs, SETTINGS)]
    assert since in counts
    assert set(cells[counts.index(since) :]) == {cells[-1]}
    assert since == counts[0] or cells[counts.index(since) - 1] != cells[-1]
    config = replace(RELATIVE, num_samples=10)
    assert unchanged_since(records, S1, config, SETTINGS) == 10


def test_probabilities_are_shares_of_outcomes() -> None:
    result = make_estimate(records_of(S1), S1, RELATIVE, SETTINGS, num_draws=40)
    drawn = outcomes(result)
    assert drawn is not None
    where = S1.slices[0]
    share = float((drawn[:, where].argmax(axis=1) == result.alpha[where].argmax()).mean())
    assert margins(result, S1)[S1.decisions[0].name].probability == pytest.approx(share)
