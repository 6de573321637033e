"""The best configuration and α, against brute force over all configurations."""

from __future__ import annotations

import numpy as np
import pytest

from nasi_ray.arrays import FloatArray
from nasi_ray.nasi.selection import Selection, select_by_ascent, select_enumerated
from nasi_ray.spaces import get_space
from nasi_ray.spaces.base import SearchSpace
from nasi_ray.spaces.options import (
    architecture_at,
    configuration,
    grid_shape,
    options_of,
    position_of,
)
from tests.nasi.test_surrogate import random_surrogate
from tests.nasi.toy import ToySpace

SPACES = [pytest.param(ToySpace(), id="toy")] + [
    pytest.param(get_space(name), id=name) for name in ("s1", "nb201")
]


def brute_force(score: FloatArray, space: SearchSpace) -> FloatArray:
    """Of every candidate: the best score of a configuration with it, minus the best of all."""
    alpha = np.full(space.num_logits, -np.inf)
    for d, (decision, where) in enumerate(zip(space.decisions, space.slices, strict=True)):
        for option, taken in enumerate(options_of(decision)):
            best = score.take(option, axis=d).max()
            for candidate in taken:
                alpha[where.start + candidate] = max(alpha[where.start + candidate], best)
    found: FloatArray = alpha - score.max()
    return found


def assert_selects(found: Selection, score: FloatArray, space: SearchSpace) -> None:
    assert found.score == pytest.approx(score.max(), abs=1e-9)
    assert score[tuple(found.position)] == pytest.approx(score.max(), abs=1e-9)
    np.testing.assert_allclose(found.alpha, brute_force(score, space), atol=1e-9)
    assert (found.alpha <= 0).all()
    assert (found.alpha[configuration(space, found.position) > 0] == 0).all()


@pytest.mark.parametrize("space", SPACES)
def test_enumeration_gives_the_best_with_every_candidate(space: SearchSpace) -> None:
    for seed in range(3):
        score = random_surrogate(grid_shape(space), seed).grid()
        assert_selects(select_enumerated(score, space), score, space)


@pytest.mark.parametrize("space", SPACES)
def test_what_is_not_allowed_is_not_selected(space: SearchSpace) -> None:
    score = random_surrogate(grid_shape(space)).grid()
    allowed = np.random.default_rng(0).random(score.shape) < 0.3
    allowed[np.unravel_index(int(score.argmax()), score.shape)] = False
    allowed[0] = False  # so that some candidate is of no allowed configuration
    found = select_enumerated(score, space, allowed=allowed)
    assert allowed[tuple(found.position)]
    assert_selects(found, np.where(allowed, score, -np.inf), space)
    takes_none = np.isneginf(found.alpha[space.slices[0]])
    assert takes_none.any() or space.decisions[0].num_chosen > 1


def test_of_equal_configurations_the_first_is_taken() -> None:
    space = ToySpace()
    found = select_enumerated(np.zeros(grid_shape(space)), space)
    assert found.position.tolist() == [0, 0, 0]


@pytest.mark.parametrize("space", SPACES)
def test_the_ascent_finds_what_enumeration_finds(space: SearchSpace) -> None:
    for seed in range(8):
        score = random_surrogate(grid_shape(space), seed)
        grid = score.grid()
        found = select_by_ascent(score, space)
        best = select_enumerated(grid, space)
        assert found.position.tolist() == best.position.tolist(), seed
        assert found.score == pytest.approx(best.score)
        assert (found.alpha <= 0).all()
        assert (found.alpha[configuration(space, found.position) > 0] == 0).all()
        # A held decision is climbed from few starts: never above the best there is.
        assert (found.alpha <= best.alpha + 1e-9).all()


def test_the_ascent_is_the_same_at_every_call() -> None:
    space = get_space("darts")
    score = random_surrogate(grid_shape(space))
    one, other = select_by_ascent(score, space), select_by_ascent(score, space)
    assert one.position.tolist() == other.position.tolist()
    assert one.alpha.tobytes() == other.alpha.tobytes()
    assert (one.alpha <= 0).all()
    assert np.isfinite(one.alpha).all()


@pytest.mark.parametrize("name", ["s1", "nb201", "darts"])
def test_a_position_and_its_configuration_are_the_same_cell(name: str) -> None:
    space = get_space(name)
    rng = np.random.default_rng(0)
    for _ in range(20):
        position = rng.integers(grid_shape(space))
        chosen = configuration(space, position)
        assert chosen.sum() == sum(d.num_chosen for d in space.decisions)
        assert position_of(space, chosen).tolist() == position.tolist()
        assert architecture_at(space, position) == space.select(space.split(chosen))
