"""The best configuration of a score: by enumeration, or else by coordinate ascent.

α of a candidate is the score of the best architecture that has it, minus the score of the best
architecture of all. So α ≤ 0, it is 0 for what is selected, and a margin says how much score the
second choice costs when everything else is chosen anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.nasi.surrogate import Surrogate, indicators
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


class EnumeratedAlpha:
    """α of one score after another, as ``select_enumerated`` gives it, in single precision.

    For resampled scores, of which α is all that is wanted: nothing is allocated twice.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        known: FloatArray | None = None,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Prepare.

        Args:
            space: The space.
            known: Added to every score, shape (options, ..., options).
            allowed: As for ``select_enumerated``.
        """
        self._space = space
        offset = None if known is None else known
        if allowed is not None:
            offset = np.where(allowed, 0.0 if offset is None else offset, -np.inf)
        self._offset = None if offset is None else np.ascontiguousarray(offset, dtype=np.float32)
        self._grid = np.empty(grid_shape(space), dtype=np.float32)

    def __call__(self, score: Surrogate) -> FloatArray:
        """α, shape (num_logits,)."""
        first, second, matrix = score.halves()
        shape = first.size, second.size
        if matrix is None:
            matrix = np.zeros((sum(first.shape), sum(second.shape)))
        rows, columns = self._indicators(first.shape), self._indicators(second.shape)
        left = np.empty((shape[0], matrix.shape[1] + 2), dtype=np.float32)
        left[:, :-2], left[:, -2], left[:, -1] = rows @ matrix, first.ravel(), 1.0
        right = np.empty((shape[1], matrix.shape[1] + 2), dtype=np.float32)
        right[:, :-2], right[:, -2], right[:, -1] = columns, 1.0, second.ravel()
        grid = self._grid.reshape(shape)
        np.matmul(left, right.T, out=grid)
        if self._offset is not None:
            grid += self._offset.reshape(shape)
        halves = grid.max(axis=1).reshape(first.shape), grid.max(axis=0).reshape(second.shape)
        best = float(halves[0].max())
        return _alpha([b.astype(np.float64) for b in _per_option(halves)], best, self._space)

    @cache  # noqa: B019 - lives as long as the draws
    def _indicators(self, sizes: tuple[int, ...]) -> FloatArray:
        return indicators(sizes)


def _best_with_options(score: FloatArray) -> list[FloatArray]:
    """Per decision: the best score with each of its options."""
    split = max(1, score.ndim // 2)
    first = score.max(axis=tuple(range(split, score.ndim)))
    second = score.max(axis=tuple(range(split))) if split < score.ndim else np.empty(())
    return _per_option((first, second))


def _per_option(halves: tuple[npt.NDArray[Any], npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """The best score with each option, from the best with each setting of half the decisions."""
    return [
        half.max(axis=tuple(i for i in range(half.ndim) if i != axis))
        for half in halves
        for axis in range(half.ndim)
    ]


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
    if not score.pairs:
        return _select_additive(score, space)
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


def _select_additive(score: Surrogate, space: SearchSpace) -> Selection:
    """Without products every decision is taken for itself, whatever the start."""
    tops = [float(table.max()) for table in score.unary]
    return Selection(
        position=np.array([int(table.argmax()) for table in score.unary]),
        score=sum(tops),
        alpha=_alpha([t - top for t, top in zip(score.unary, tops, strict=True)], 0.0, space),
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
