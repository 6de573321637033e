"""Other gradient estimators from the records of the straight-through one.

A record has ∇_α e = k (diag(p) − p pᵀ)/τ · ∇_h e, and p follows from the noise, which the seed
gives again. So ∇_h e is known up to a constant per decision, which no softmax Jacobian sees.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.errors import ConfigError
from nasi_ray.nasi.gumbel import sample_architecture
from nasi_ray.records.rows import SampleTable
from nasi_ray.seeding import generator
from nasi_ray.spaces.base import SearchSpace
from nasi_ray.spaces.options import chosen_candidates

NUM_RAO_DRAWS = 64
"""Draws of the noise, given what was chosen, for a sample of Gumbel-Rao."""

Surrogate = Callable[[FloatArray, FloatArray, int], FloatArray]
"""Multi-hot choices and ∇_h e, shape (samples, candidates) each, and k -> ∇_α e."""


def replay(
    table: SampleTable, space: SearchSpace, estimator: str, *, seed: int, temperature: float
) -> SampleTable:
    """The samples with the gradient of another estimator.

    Args:
        table: Samples with one draw for all cells.
        space: Their space.
        estimator: ``reinmax`` (Liu et al. 2023; π0 and π1 at α = 0) or ``gumbel-rao`` (Paulus et
            al. 2021). Where a decision takes k > 1, k-hot/k stands for one-hot.
        seed: Root seed of the search.
        temperature: τ of the search.

    Raises:
        ConfigError: If every cell had a draw of its own.
    """
    good = np.flatnonzero(table.ok)
    if not len(good):
        return table
    chosen = chosen_candidates(table.choices[good], space)
    index = table.index[good]
    p = np.stack([_softmaxes(space, seed, int(t), temperature) for t in index])
    grad = table.grad.copy()
    for decision, where in zip(space.decisions, space.slices, strict=True):
        k = decision.num_chosen
        # h − p·h: what the Jacobian's other side made of ∇_h e.
        h = table.grad[good, where] * temperature / (k * p[:, where])
        taken = chosen[:, where] / k
        if estimator == "reinmax":
            grad[good, where] = k * _reinmax(taken, h)
        elif estimator == "gumbel-rao":
            grad[good, where] = k * _gumbel_rao(taken, h, index, seed, temperature, where.start)
        else:
            raise ConfigError(f"estimator is {estimator!r}; reinmax and gumbel-rao can be replayed")
    return dataclasses.replace(table, grad=grad)


def _softmaxes(space: SearchSpace, seed: int, index: int, temperature: float) -> FloatArray:
    """P of every decision of one sample, shape (num_logits,)."""
    noise = sample_architecture(
        space, ["any"], generator(seed, "gumbel", index), sample_per="step", temperature=temperature
    )
    return np.concatenate([_softmax(noisy / temperature) for noisy in noise.perturbed.values()])


def _softmax(logits: FloatArray) -> FloatArray:
    """Along the last axis."""
    exponent = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: FloatArray = exponent / exponent.sum(axis=-1, keepdims=True)
    return probabilities


def _jacobian(p: FloatArray, h: FloatArray) -> FloatArray:
    """(diag(p) − p pᵀ) h along the last axis."""
    product: FloatArray = p * (h - (p * h).sum(axis=-1, keepdims=True))
    return product


def _reinmax(taken: FloatArray, h: FloatArray) -> FloatArray:
    """2 J((D + π)/2) h − ½ J(π) h, with π uniform as α = 0."""
    uniform = np.full_like(taken, 1 / taken.shape[1])
    return 2 * _jacobian((taken + uniform) / 2, h) - _jacobian(uniform, h) / 2


def _gumbel_rao(
    taken: FloatArray, h: FloatArray, index: IntArray, seed: int, temperature: float, start: int
) -> FloatArray:
    """The mean of J(softmax(g/τ)) h/τ over noise g that gives the same choice."""
    found = np.empty_like(h)
    size = taken.shape[1]
    for row, t in enumerate(index):
        rng = generator(seed, "rao", int(t) * 1_000 + start)
        # At α = 0 candidates are exchangeable: the largest numbers go to those that were taken.
        noise = -np.sort(-rng.gumbel(size=(NUM_RAO_DRAWS, size)), axis=1)
        first, rest = np.flatnonzero(taken[row]), np.flatnonzero(taken[row] == 0)
        placed = np.empty_like(noise)
        placed[:, first] = rng.permuted(noise[:, : len(first)], axis=1)
        placed[:, rest] = rng.permuted(noise[:, len(first) :], axis=1)
        found[row] = _jacobian(_softmax(placed / temperature), h[row]).mean(axis=0) / temperature
    return found
