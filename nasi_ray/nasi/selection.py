"""The best configuration of a score: by enumeration, or else by coordinate ascent.

α of a candidate is the score of the best architecture that has it, minus the score of the best
architecture of all. So α ≤ 0, it is 0 for what is selected, and a margin says how much score the
second choice costs when everything else is chosen anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.nasi.surrogate import Surrogate
from nasi_ray.spaces.base import SearchSpace
from nasi_ray.spaces.options import grid_shape, incidence

NUM_STARTS = 30
"""Random starts of the coordinate ascent, beside the options that are best by themselves."""
_MAX_SWEEPS = 100


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Selection:
    """The best configuration and what every candidate is worth."""

    position: IntArray
    """Option of every decision, shape (decisions,)."""
    score: float
    alpha: FloatArray
    """shape (num_logits,), at most 0; -inf for a candidate of no allowed configuration."""


def select_enumerated(
    score: FloatArray, space: SearchSpace, *, allowed: npt.NDArray[np.bool_] | None = None
) -> Selection:
    """Take the best of all configurations; of equal ones the first.

    Args:
        score: Of every configuration, shape (options, ..., options).
        space: The space.
        allowed: Of the same shape; at least one is.
    """
    if allowed is not None:
        score = np.where(allowed, score, -np.inf)
    first = int(np.argmax(score))
    best = float(score.ravel()[first])
    return Selection(
        position=np.array(np.unravel_index(first, score.shape)),
        score=best,
        alpha=_alpha(_best_with_options(score), best, space),
    )


def _best_with_options(score: FloatArray) -> list[FloatArray]:
    """Per decision: the best score with each of its options."""
    split = max(1, score.ndim // 2)
    halves = (
        score.max(axis=tuple(range(split, score.ndim))),
        score.max(axis=tuple(range(split))) if split < score.ndim else np.empty(0),
    )
    found = []
    for d in range(score.ndim):
        half, axis = (halves[0], d) if d < split else (halves[1], d - split)
        found.append(half.max(axis=tuple(i for i in range(half.ndim) if i != axis)))
    return found


def _alpha(options: Sequence[FloatArray], best: float, space: SearchSpace) -> FloatArray:
    """From the best score with each option to that with each candidate, minus the best."""
    return np.concatenate(
        [
            np.where(incidence(decision) > 0, values[:, None], -np.inf).max(axis=0) - best
            for decision, values in zip(space.decisions, options, strict=True)
        ]
    )


def select_by_ascent(
    score: Surrogate, space: SearchSpace, *, num_starts: int = NUM_STARTS
) -> Selection:
    """Change one decision after the other to its best option, from many starts.

    The starts are the same at every call. α is by the same ascent, with one decision held.

    Args:
        score: The score.
        space: The space.
        num_starts: Random starts (≥ 0).
    """
    shape = grid_shape(space)
    rng = np.random.default_rng(0)
    starts = np.stack([rng.integers(n, size=num_starts) for n in shape], axis=1)
    alone = np.array([int(np.argmax(table)) for table in score.unary])
    tops = _climb(score, np.vstack([alone[None], starts]), held=None)
    tops = np.unique(tops, axis=0)
    # With one decision held, the best ends of the free ascent are where to start from.
    tops = tops[np.argsort(-score.at(tops), kind="stable")[:8]]
    held = np.repeat(np.arange(len(shape)), shape)
    option = np.concatenate([np.arange(n) for n in shape])
    trial = np.repeat(tops[None], len(held), axis=0)
    trial[np.arange(len(held)), :, held] = option[:, None]
    flat = _climb(score, trial.reshape(-1, len(shape)), held=np.repeat(held, len(tops)))
    values = score.at(flat)
    best = int(np.argmax(values))
    of_options = values.reshape(len(held), len(tops)).max(axis=1)
    per_decision = np.split(of_options, np.cumsum(shape)[:-1])
    return Selection(
        position=flat[best],
        score=float(values[best]),
        alpha=_alpha(per_decision, float(values[best]), space),
    )


def _climb(score: Surrogate, positions: IntArray, *, held: IntArray | None) -> IntArray:
    positions = positions.copy()
    for _ in range(_MAX_SWEEPS):
        before = positions.copy()
        for d in range(positions.shape[1]):
            better = score.conditional(positions, d).argmax(axis=1)
            free = np.ones(len(positions), dtype=bool) if held is None else held != d
            positions[free, d] = better[free]
        if np.array_equal(before, positions):
            break
    return positions
