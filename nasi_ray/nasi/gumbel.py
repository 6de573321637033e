"""Sampling architectures with straight-through Gumbel-softmax (App. B.3). NumPy, float64, CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.spaces.base import SearchSpace


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Architecture:
    """One sampled architecture A_t: the candidates of each decision, for every draw.

    With one draw per step, a single draw has all decisions. With one draw per cell, each cell has
    its own draw of the decisions of its type.
    """

    space: SearchSpace
    draw_of_cell: Sequence[int]
    """Cell position -> position of its draw."""
    chosen: Mapping[tuple[int, int], tuple[int, ...]]
    """(draw, decision) -> candidates taken, best first."""
    perturbed: Mapping[tuple[int, int], FloatArray]
    """(draw, decision) -> α + g, shape (candidates,)."""
    temperature: float

    def at(self, cell: int, decision: int) -> tuple[int, ...]:
        """The candidates taken at a choice point."""
        return self.chosen[self.draw_of_cell[cell], decision]

    @property
    def choices(self) -> IntArray:
        """All candidates taken, flat: draws in order, decisions in order."""
        return np.array([j for taken in self.chosen.values() for j in taken], dtype=np.int64)

    def straight_through(self, gradients: Mapping[tuple[int, int], FloatArray]) -> FloatArray:
        """∇_α e from ∂e/∂h: Σ k (diag(p) − p pᵀ)/τ · ∇_h e over the choice points (eq. 42).

        k is the decision's ``num_chosen``: the surrogate of a k-hot vector is k·softmax.

        Args:
            gradients: (cell, decision) -> ∂e/∂h, shape (candidates,).

        Returns:
            shape (num_logits,); NaN where a gradient is not finite.
        """
        alpha_gradient = np.zeros(self.space.num_logits)
        slices, decisions = self.space.slices, self.space.decisions
        for (cell, decision), h in sorted(gradients.items()):
            p = softmax(self.perturbed[self.draw_of_cell[cell], decision] / self.temperature)
            scale = decisions[decision].num_chosen / self.temperature
            with np.errstate(invalid="ignore"):  # ∞ − ∞ is NaN, for the caller to find
                alpha_gradient[slices[decision]] += scale * p * (h - p @ h)
        return alpha_gradient


def sample_architecture(
    space: SearchSpace,
    cell_types: Sequence[str],
    rng: np.random.Generator,
    *,
    sample_per: str,
    temperature: float,
    alpha: FloatArray | None = None,
) -> Architecture:
    """Draw an architecture: h_d = onehot(argmax(α_d + g_d)), or the k largest of α_d + g_d.

    Args:
        space: The search space.
        cell_types: Type of each cell of the supernet.
        rng: Source of the Gumbel(0, 1) noise.
        sample_per: ``step`` (cells of a type share the draw) or ``cell``.
        temperature: τ > 0 of the surrogate.
        alpha: Logits, shape (num_logits,); None is α0 = 0.
    """
    logits = np.zeros(space.num_logits) if alpha is None else alpha
    if sample_per == "step":
        draws, draw_of_cell = [range(len(space.decisions))], [0] * len(cell_types)
    else:
        draws = [space.cell_types[t] for t in cell_types]  # type: ignore[misc]
        draw_of_cell = list(range(len(cell_types)))
    chosen: dict[tuple[int, int], tuple[int, ...]] = {}
    perturbed: dict[tuple[int, int], FloatArray] = {}
    for draw, decisions in enumerate(draws):
        for d in decisions:
            decision = space.decisions[d]
            noisy = logits[space.slices[d]] + rng.gumbel(size=decision.size)
            order = np.argsort(-noisy, kind="stable")
            chosen[draw, d] = tuple(int(j) for j in order[: decision.num_chosen])
            perturbed[draw, d] = noisy
    return Architecture(
        space=space,
        draw_of_cell=draw_of_cell,
        chosen=chosen,
        perturbed=perturbed,
        temperature=temperature,
    )


def softmax(logits: FloatArray) -> FloatArray:
    """exp(logits) normalised to sum 1, without overflow; shape as given, one dimension."""
    exponent = np.exp(logits - logits.max())
    probabilities: FloatArray = exponent / exponent.sum()
    return probabilities
