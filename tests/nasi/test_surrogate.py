"""The ridge fit against its closed form, and what a surrogate says of configurations."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from nasi_ray.arrays import FloatArray
from nasi_ray.nasi import surrogate as module
from nasi_ray.nasi.surrogate import Design, Surrogate, additive
from nasi_ray.spaces import get_space
from nasi_ray.spaces.base import SearchSpace
from nasi_ray.spaces.options import configuration, grid_shape, incidence
from tests.nasi.toy import ToySpace

SPACES = [pytest.param(ToySpace(), id="toy"), pytest.param(get_space("s1"), id="s1")]


class OneDecision(ToySpace):
    """One of three operations."""

    decisions = (ToySpace().decisions[1],)


def random_choices(space: SearchSpace, num_samples: int, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    columns = [incidence(d)[rng.integers(n, size=num_samples)] for d, n in
               zip(space.decisions, grid_shape(space), strict=True)]  # fmt: skip
    return np.hstack(columns)


def random_surrogate(shape: tuple[int, ...], seed: int = 0) -> Surrogate:
    rng = np.random.default_rng(seed)
    return Surrogate(
        unary=tuple(rng.standard_normal(n) for n in shape),
        pairs={
            (d, e): rng.standard_normal((shape[d], shape[e]))
            for d, e in combinations(range(len(shape)), 2)
        },
    )


def features(chosen: FloatArray, space: SearchSpace, order: int) -> FloatArray:
    """φ, column by column as the definition says."""
    owner = [d for d, decision in enumerate(space.decisions) for _ in range(decision.size)]
    pairs = [
        chosen[:, i] * chosen[:, j]
        for i, j in combinations(range(space.num_logits), 2)
        if owner[i] != owner[j] or space.decisions[owner[i]].num_chosen > 1
    ]
    return np.column_stack([chosen, *(pairs if order == 2 else [])])


def ridge_fit(phi: FloatArray, u: FloatArray, ridge: float, num_main: int) -> FloatArray:
    centred = phi - phi.mean(axis=0)
    penalty = np.where(np.arange(phi.shape[1]) < num_main, ridge, ridge * module.PAIR_PENALTY)
    normal = centred.T @ centred + np.diag(penalty)
    return np.linalg.solve(normal, centred.T @ (u - u.mean(axis=0)))


def every_position(space: SearchSpace) -> np.ndarray:
    return np.array(list(product(*map(range, grid_shape(space)))))


@pytest.mark.parametrize("path", ["dense", "sparse"])
@pytest.mark.parametrize("num_samples", [3, 20, 400])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("space", SPACES)
def test_every_path_is_the_ridge_on_explicit_features(
    space: SearchSpace, order: int, num_samples: int, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path == "sparse":
        monkeypatch.setattr(module, "MAX_DENSE_SAMPLES", 0)
    chosen = random_choices(space, num_samples)
    u = np.random.default_rng(1).standard_normal((num_samples, 2))
    phi = features(chosen, space, order)
    design = Design(chosen, space, order=order)
    assert design.num_features == phi.shape[1]
    found = design.fit(u, ridge=3.0)
    positions = every_position(space)[::97]
    cells = np.array([configuration(space, p) for p in positions])
    expected = features(cells, space, order) @ ridge_fit(phi, u, 3.0, space.num_logits)
    for fit, column in zip(found, expected.T, strict=True):
        np.testing.assert_allclose(fit.at(positions), column, rtol=0, atol=1e-8)
    assert len(found) == 2


@pytest.mark.parametrize("path", ["dense", "sparse"])
@pytest.mark.parametrize("num_samples", [20, 400])
def test_rows_may_be_repeated(num_samples: int, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if path == "sparse":
        monkeypatch.setattr(module, "MAX_DENSE_SAMPLES", 0)
    space = ToySpace()
    rng = np.random.default_rng(2)
    chosen = random_choices(space, num_samples)
    u, rows = rng.standard_normal((num_samples, 1)), rng.integers(num_samples, size=num_samples)
    (found,) = Design(chosen, space, order=2).fit(u[rows], ridge=3.0, rows=rows)
    (expected,) = Design(chosen[rows], space, order=2).fit(u[rows], ridge=3.0)
    np.testing.assert_allclose(found.grid(), expected.grid(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("max_dense", [0, 4096])
def test_a_space_of_one_decision_is_fitted(
    order: int, max_dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_DENSE_SAMPLES", max_dense)
    space = OneDecision()
    chosen = random_choices(space, 60)
    (fit,) = Design(chosen, space, order=order).fit(chosen @ [[1.0], [2.0], [6.0]], ridge=1e-6)
    assert np.diff(fit.grid()) == pytest.approx([1.0, 4.0], abs=1e-5)


def test_main_effects_are_the_score_function_estimate_up_to_scale() -> None:
    space = ToySpace()
    # Balanced: every configuration equally often.
    chosen = np.array([configuration(space, p) for p in every_position(space)] * 3)
    u = np.random.default_rng(3).standard_normal((len(chosen), 1))
    (fit,) = Design(chosen, space, order=1).fit(u, ridge=3.0)
    estimate = (u - u.mean()).T @ (chosen - chosen.mean(axis=0))
    for d, (decision, where) in enumerate(zip(space.decisions, space.slices, strict=True)):
        expected = incidence(decision) @ estimate[0, where]
        scale = (fit.unary[d] @ expected) / max(expected @ expected, 1e-300)
        np.testing.assert_allclose(fit.unary[d], scale * expected, atol=1e-12)
        assert scale > 0 or decision.size == 1


@pytest.mark.parametrize(
    "shape", [(3,), (3, 2), (4, 1, 3), (3, 3, 1, 3, 3, 3, 6, 10), (2, 3, 4, 5, 2)], ids=str
)
def test_the_grid_has_the_value_at_every_configuration(shape: tuple[int, ...]) -> None:
    positions = np.array(list(product(*map(range, shape))))
    whole = random_surrogate(shape)
    for one in (whole, additive(whole.unary)):
        grid = one.grid()
        assert grid.shape == shape
        np.testing.assert_allclose(grid.ravel(), one.at(positions), atol=1e-12)
        assert one.std() == pytest.approx(float(grid.std()), rel=1e-12)


def test_the_conditional_is_the_value_but_for_what_the_others_add() -> None:
    shape = (3, 4, 2, 5)
    one = random_surrogate(shape)
    positions = np.random.default_rng(0).integers(shape, size=(20, len(shape)))
    for decision, size in enumerate(shape):
        values = np.empty((len(positions), size))
        for option in range(size):
            changed = positions.copy()
            changed[:, decision] = option
            values[:, option] = one.at(changed)
        found = one.conditional(positions, decision)
        difference = values - found
        np.testing.assert_allclose(difference, difference[:, :1].repeat(size, axis=1), atol=1e-12)


def test_sums_and_multiples_are_those_of_the_values() -> None:
    shape = (3, 4, 2)
    one, other = random_surrogate(shape), random_surrogate(shape, 1)
    np.testing.assert_allclose((one + other).grid(), one.grid() + other.grid(), atol=1e-12)
    mixed = additive(one.unary) + other
    np.testing.assert_allclose(mixed.grid(), additive(one.unary).grid() + other.grid(), atol=1e-12)
    np.testing.assert_allclose((one * -2.5).grid(), -2.5 * one.grid(), atol=1e-12)
