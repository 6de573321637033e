"""The configurations of a space as a grid: one axis a decision, one position an option of it.

An option is what a decision can take: a candidate, or a set of ``num_chosen`` candidates.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations
from math import comb, prod

import numpy as np
import numpy.typing as npt

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.errors import ConfigError
from nasi_ray.spaces.base import Architecture, Cost, Decision, SearchSpace

MAX_ENUMERATED = 20_000_000
"""Configurations up to which a space is searched by scoring every one."""


def options_of(decision: Decision) -> IntArray:
    """The sets of candidates that a decision can take, shape (options, num_chosen), ascending."""
    return np.array(list(combinations(range(decision.size), decision.num_chosen)), dtype=np.int64)


@cache
def incidence(decision: Decision) -> FloatArray:
    """1 where an option takes a candidate, else 0; shape (options, candidates); read-only."""
    options = options_of(decision)
    taken = np.zeros((len(options), decision.size))
    np.put_along_axis(taken, options, 1.0, axis=1)
    taken.setflags(write=False)
    return taken


def grid_shape(space: SearchSpace) -> tuple[int, ...]:
    """Options of every decision."""
    return tuple(comb(d.size, d.num_chosen) for d in space.decisions)


def can_be_enumerated(space: SearchSpace) -> bool:
    """Whether every configuration can be scored."""
    return prod(grid_shape(space)) <= MAX_ENUMERATED


@cache
def costs_of(space: SearchSpace, kind: Cost) -> FloatArray | None:
    """``SearchSpace.costs``, once a process: of a million configurations they take a second."""
    return space.costs(kind)


def chosen_candidates(choices: npt.NDArray[np.int16], space: SearchSpace) -> FloatArray:
    """Which candidates samples chose, from the choices in their records.

    Args:
        choices: Of samples with one draw for all cells, shape (samples, choices).
        space: Their space.

    Returns:
        1 where a candidate was chosen, else 0; shape (samples, num_logits).

    Raises:
        ConfigError: If every cell had a draw of its own, so that a sample is no single cell.
    """
    counts = [decision.num_chosen for decision in space.decisions]
    if choices.shape[1] != sum(counts):
        raise ConfigError(
            f"a sample has {choices.shape[1]} choices, but one cell of {space.name} has "
            f"{sum(counts)}: each cell had its own draw; use --sample-per step"
        )
    starts = np.repeat([where.start for where in space.slices], counts)
    chosen = np.zeros((len(choices), space.num_logits))
    np.put_along_axis(chosen, choices + starts, 1.0, axis=1)
    return chosen


def configuration(space: SearchSpace, position: IntArray) -> FloatArray:
    """The candidates of one configuration, 1 or 0, shape (num_logits,).

    Args:
        space: The space.
        position: Option of every decision, shape (decisions,).
    """
    return np.concatenate(
        [incidence(d)[option] for d, option in zip(space.decisions, position, strict=True)]
    )


def architecture_at(space: SearchSpace, position: IntArray) -> Architecture:
    """The architecture of one configuration; arguments as of ``configuration``."""
    return space.select(space.split(configuration(space, position)))


def position_of(space: SearchSpace, alpha: FloatArray) -> IntArray:
    """The option of every decision that takes its largest logits; of equal ones the first.

    Args:
        space: The space.
        alpha: shape (num_logits,)
    """
    position = []
    for decision, where in zip(space.decisions, space.slices, strict=True):
        taken = np.sort(np.argsort(-alpha[where], kind="stable")[: decision.num_chosen])
        position.append(int((options_of(decision) == taken).all(axis=1).argmax()))
    return np.array(position)
