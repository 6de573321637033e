"""Choice points of a supernet, where an architecture takes some of several candidates.

A supernet's forward pass does not depend on who evaluates it. At every choice point it passes its
candidates to a ``Mixer``, which may evaluate the chosen ones only (the sampled path), all of them
with weights (the one-shot network), or the chosen ones now and the others later (the exact
gradient, ``nasi_ray.nasi.gradient``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Candidate = Callable[[], Tensor]
"""Evaluates one candidate; all candidates of a choice point give the same shape."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The candidate that applies an operation to an input, which it evaluates itself."""

    op: Callable[[Tensor], Tensor]
    x: Candidate

    def __call__(self) -> Tensor:
        """Evaluate."""
        return self.op(self.x())


class Mixer(Protocol):
    """Combines the candidates of a choice point to Σ_j h_j · candidate_j."""

    def mix(self, cell: int, decision: int, candidates: Sequence[Candidate]) -> Tensor:
        """Combine.

        Args:
            cell: Position of the cell in the network, from 0 (with one draw per cell, whose h).
            decision: Position of the decision in the space's ``decisions``.
            candidates: One per logit of that decision, in order.
        """


class PathMixer:
    """Evaluates only what was chosen: the sub-network of one architecture."""

    def __init__(self, chosen: Callable[[int, int], Sequence[int]]) -> None:
        self._chosen = chosen

    def mix(self, cell: int, decision: int, candidates: Sequence[Candidate]) -> Tensor:
        """Σ of the chosen candidates."""
        return add(*(candidates[j]() for j in self._chosen(cell, decision)))


class WeightedMixer:
    """Evaluates everything: Σ_j h_j · candidate_j, differentiable with respect to h."""

    def __init__(self, weights: Callable[[int, int], Tensor]) -> None:
        self._weights = weights

    def mix(self, cell: int, decision: int, candidates: Sequence[Candidate]) -> Tensor:
        """Weighted sum over all candidates, chosen or not."""
        weights = self._weights(cell, decision)
        return add(*(w * candidate() for w, candidate in zip(weights, candidates, strict=True)))


def add(first: Tensor, *others: Tensor) -> Tensor:
    """Sum of tensors, from left to right."""
    for other in others:
        first = first + other
    return first
