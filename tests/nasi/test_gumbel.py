from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nasi_ray.arrays import FloatArray
from nasi_ray.nasi.gumbel import Architecture, sample_architecture, softmax
from nasi_ray.networks.darts import cell_types
from nasi_ray.seeding import generator
from nasi_ray.spaces.base import SearchSpace
from nasi_ray.spaces.darts import DartsSpace
from tests.nasi.toy import ToySpace
from tests.strategies import SEEDS

SPACE = DartsSpace()
CELLS = cell_types(6)
NUM_DRAWS = 2000


def draw(
    seed: int,
    *,
    space: SearchSpace = SPACE,
    cells: tuple[str, ...] = CELLS,
    sample_per: str = "step",
    temperature: float = 1.0,
    alpha: FloatArray | None = None,
) -> Architecture:
    return sample_architecture(
        space,
        cells,
        np.random.default_rng(seed),
        sample_per=sample_per,
        temperature=temperature,
        alpha=alpha,
    )


def chi_square(counts: FloatArray, probabilities: FloatArray) -> float:
    expected = counts.sum() * probabilities
    return float(((counts - expected) ** 2 / expected).sum())


def test_choices_are_uniform_before_the_search() -> None:
    draws = [
        sample_architecture(
            SPACE, CELLS, generator(0, "gumbel", t), sample_per="step", temperature=1.0
        ).choices
        for t in range(NUM_DRAWS)
    ]
    for d, decision in enumerate(SPACE.decisions):
        counts = np.bincount([c[d] for c in draws], minlength=decision.size).astype(float)
        degrees = decision.size - 1
        # Mean and spread of chi-square: 5 standard deviations, over 16 decisions.
        limit = degrees + 5 * np.sqrt(2 * degrees)
        assert chi_square(counts, np.full(decision.size, 1 / decision.size)) < limit


def test_choices_follow_the_softmax_of_alpha() -> None:
    alpha = np.random.default_rng(1).normal(size=SPACE.num_logits)
    taken = [draw(t, alpha=alpha).at(0, 0)[0] for t in range(NUM_DRAWS)]
    counts = np.bincount(taken, minlength=7).astype(float)
    assert chi_square(counts, softmax(alpha[:7])) < 6 + 5 * np.sqrt(12)


@given(seed=SEEDS, sample_per=st.sampled_from(["step", "cell"]))
def test_the_largest_of_alpha_plus_noise_is_taken(seed: int, sample_per: str) -> None:
    alpha = np.random.default_rng(seed + 1).normal(size=SPACE.num_logits)
    architecture = draw(seed, sample_per=sample_per, alpha=alpha)
    for at, noisy in architecture.perturbed.items():
        assert architecture.chosen[at] == (int(noisy.argmax()),)


def test_noise_is_added_to_alpha() -> None:
    alpha = np.random.default_rng(0).normal(size=SPACE.num_logits)
    with_alpha, without = draw(3, alpha=alpha), draw(3)
    for (at, noisy), noise in zip(
        with_alpha.perturbed.items(), without.perturbed.values(), strict=True
    ):
        np.testing.assert_allclose(noisy, noise + alpha[SPACE.slices[at[1]]], rtol=1e-15)


def test_one_draw_per_step_is_shared_by_the_cells() -> None:
    architecture = draw(0)
    assert len(architecture.choices) == 16
    assert {architecture.at(cell, 0) for cell in (0, 1, 3, 5)} == {architecture.at(0, 0)}


def test_one_draw_per_cell_differs_between_cells() -> None:
    architecture = draw(0, sample_per="cell")
    assert len(architecture.choices) == 8 * len(CELLS)
    for cell, cell_type in enumerate(CELLS):
        decisions = {d for c, d in architecture.chosen if c == cell}
        assert decisions == set(SPACE.cell_types[cell_type])
    normal = [cell for cell, cell_type in enumerate(CELLS) if cell_type == "normal"]
    drawn = {tuple(architecture.at(cell, d)[0] for d in range(8)) for cell in normal}
    assert len(drawn) == len(normal)


@pytest.mark.parametrize("sample_per", ["step", "cell"])
def test_choices_are_all_that_was_taken_in_order(sample_per: str) -> None:
    architecture = draw(5, sample_per=sample_per)
    if sample_per == "step":
        expected = [architecture.at(0, d)[0] for d in range(16)]
    else:
        expected = [
            architecture.at(cell, d)[0]
            for cell, cell_type in enumerate(CELLS)
            for d in SPACE.cell_types[cell_type]
        ]
    assert architecture.choices.tolist() == expected


def test_the_k_largest_are_taken_best_first() -> None:
    pairs: Counter[frozenset[int]] = Counter()
    for seed in range(NUM_DRAWS):
        architecture = draw(seed, space=ToySpace(), cells=("cell", "cell"))
        noisy = architecture.perturbed[0, 0]
        best, second = architecture.at(0, 0)
        assert noisy[best] >= noisy[second] >= np.sort(noisy)[-2]
        assert architecture.at(0, 2) == (0,)
        assert len(architecture.choices) == 4
        pairs[frozenset((best, second))] += 1
    counts = np.array(list(pairs.values()), dtype=float)
    assert len(counts) == 6
    assert chi_square(counts, np.full(6, 1 / 6)) < 5 + 5 * np.sqrt(10)


@given(
    seed=SEEDS,
    temperature=st.floats(0.1, 10),
    sample_per=st.sampled_from(["step", "cell"]),
    toy=st.booleans(),
)
def test_straight_through_is_the_derivative_of_softmax(
    seed: int, temperature: float, sample_per: str, toy: bool
) -> None:
    space: SearchSpace = ToySpace() if toy else SPACE
    cells = ("cell",) * 3 if toy else CELLS
    architecture = draw(
        seed, space=space, cells=cells, sample_per=sample_per, temperature=temperature
    )
    rng = np.random.default_rng(seed)
    gradients = {
        (cell, d): rng.normal(size=space.decisions[d].size)
        for cell, cell_type in enumerate(cells)
        for d in space.cell_types[cell_type]
    }
    shift = torch.zeros(space.num_logits, dtype=torch.float64, requires_grad=True)
    total = torch.zeros((), dtype=torch.float64)
    for (cell, d), h in gradients.items():
        noisy = torch.from_numpy(architecture.perturbed[architecture.draw_of_cell[cell], d])
        surrogate = torch.softmax((noisy + shift[space.slices[d]]) / temperature, dim=0)
        total = total + space.decisions[d].num_chosen * surrogate @ torch.from_numpy(h)
    (expected,) = torch.autograd.grad(total, [shift])
    np.testing.assert_allclose(
        architecture.straight_through(gradients), expected, rtol=1e-10, atol=1e-12
    )


def test_straight_through_does_not_depend_on_the_order_of_the_choice_points() -> None:
    architecture = draw(0, sample_per="cell")
    rng = np.random.default_rng(0)
    gradients = {at: rng.normal(size=len(g)) for at, g in architecture.perturbed.items()}
    backwards = dict(reversed(gradients.items()))
    np.testing.assert_array_equal(
        architecture.straight_through(gradients), architecture.straight_through(backwards)
    )


def test_softmax_does_not_overflow() -> None:
    np.testing.assert_allclose(softmax(np.array([1e4, 1e4, -1e4])), [0.5, 0.5, 0.0])
