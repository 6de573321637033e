"""A model of a measurement in the choices: main effects and products of two, fitted by ridge.

φ(A) are the multi-hot choices of an architecture and, for second order, the products of two
choices, of different decisions or of one that takes several. β = argmin Σ_t (u_t − β·φ_t)² +
λ‖β‖², with φ and u centred. With main effects alone it is the score-function estimate of
∇_α E[u] at α = 0, up to scale. Products are penalised ten times as much as main effects
(``PAIR_PENALTY``): there are many more of them, and each is mostly small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import prod
from typing import Any

import numpy as np

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.spaces.base import SearchSpace, along, sum_grid
from nasi_ray.spaces.options import incidence

MAX_DENSE_SAMPLES = 4096
"""With more samples the normal equations are solved by conjugate gradients on sparse features."""

PAIR_PENALTY = 10.0
"""Ridge of a product of two choices, in units of that of a main effect."""

_TOLERANCE = 1e-10
_PAIR_SCALE = PAIR_PENALTY**-0.5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Surrogate:
    """A function of a configuration: a term for every option, and for every two of them."""

    unary: tuple[FloatArray, ...]
    """Per decision, shape (options,)."""
    pairs: Mapping[tuple[int, int], FloatArray]
    """Decisions d < e -> shape (options of d, options of e)."""

    def __add__(self, other: Surrogate) -> Surrogate:
        pairs = dict(self.pairs)
        for both, table in other.pairs.items():
            pairs[both] = pairs[both] + table if both in pairs else table
        unary = tuple(a + b for a, b in zip(self.unary, other.unary, strict=True))
        return Surrogate(unary=unary, pairs=pairs)

    def __mul__(self, factor: float) -> Surrogate:
        return Surrogate(
            unary=tuple(factor * table for table in self.unary),
            pairs={both: factor * table for both, table in self.pairs.items()},
        )

    def std(self) -> float:
        """Standard deviation over all configurations, each with the same weight."""
        unary = [table - table.mean() for table in self.unary]
        variance = 0.0
        for (d, e), table in self.pairs.items():
            rows, columns = table.mean(axis=1), table.mean(axis=0)
            unary[d] = unary[d] + rows - rows.mean()
            unary[e] = unary[e] + columns - columns.mean()
            variance += float((table - rows[:, None] - columns + table.mean()).var())
        return float(np.sqrt(variance + sum(float(table.var()) for table in unary)))

    def grid(self) -> FloatArray:
        """The value of every configuration, shape (options, ..., options)."""
        shape = tuple(map(len, self.unary))
        split = _halfway(shape)
        first, second = self._part(range(split)), self._part(range(split, len(shape)))
        values = first.reshape(-1, 1) + second.reshape(1, -1)
        cross = self._cross(range(split), range(split, len(shape)))
        if cross is not None:
            values += cross
        return values.reshape(shape)

    def _part(self, decisions: range) -> FloatArray:
        """Terms of these decisions alone, one axis each."""
        total = sum_grid([self.unary[d] for d in decisions])
        for (d, e), table in self.pairs.items():
            if d in decisions and e in decisions:
                total += along(table, total.ndim, d - decisions.start, e - decisions.start)
        return total

    def _cross(self, first: range, second: range) -> FloatArray | None:
        """Terms of a decision of the first half and one of the second, as one matrix product."""
        across = {b: t for b, t in self.pairs.items() if b[0] in first and b[1] in second}
        if not across:
            return None
        shape = tuple(map(len, self.unary))
        rows, columns = (_indicators([shape[d] for d in half]) for half in (first, second))
        starts = np.cumsum([0, *shape])
        matrix = np.zeros((rows.shape[1], columns.shape[1]))
        for (d, e), table in across.items():
            i, j = starts[d], starts[e] - starts[second.start]
            matrix[i : i + len(table), j : j + table.shape[1]] += table
        found: FloatArray = (rows @ matrix) @ columns.T
        return found

    def at(self, positions: IntArray) -> FloatArray:
        """The values of some configurations.

        Args:
            positions: Options, shape (configurations, decisions).
        """
        value = np.zeros(len(positions))
        for d, table in enumerate(self.unary):
            value += table[positions[:, d]]
        for (d, e), table in self.pairs.items():
            value += table[positions[:, d], positions[:, e]]
        return value

    def conditional(self, positions: IntArray, decision: int) -> FloatArray:
        """The part of the value that depends on one decision, for each of its options.

        Args:
            positions: Options of all decisions, shape (configurations, decisions).
            decision: The one that varies.

        Returns:
            shape (configurations, options)
        """
        value = np.repeat(self.unary[decision][None], len(positions), axis=0)
        for (d, e), table in self.pairs.items():
            if d == decision:
                value += table[:, positions[:, e]].T
            elif e == decision:
                value += table[positions[:, d]]
        return value


def additive(unary: Sequence[FloatArray]) -> Surrogate:
    """A surrogate of main effects: a term for every option of every decision."""
    return Surrogate(unary=tuple(unary), pairs={})


class Design:
    """The features φ of samples, to which measurements are fitted."""

    def __init__(self, chosen: FloatArray, space: SearchSpace, *, order: int) -> None:
        """Take samples.

        Args:
            chosen: Multi-hot choices, shape (samples, num_logits).
            space: Their space.
            order: 1 for main effects, 2 for pairs as well.
        """
        self._chosen, self._space = chosen, space
        owner = np.repeat(np.arange(len(space.decisions)), [d.size for d in space.decisions])
        takes_several = np.array([d.num_chosen > 1 for d in space.decisions])
        first, second = np.triu_indices(space.num_logits, k=1)
        is_pair = (owner[first] != owner[second]) | takes_several[owner[first]]
        if order == 1:
            is_pair[:] = False
        self._first, self._second = first[is_pair], second[is_pair]

    @property
    def num_features(self) -> int:
        """Length of φ."""
        return int(self._chosen.shape[1]) + len(self._first)

    def fit(
        self, targets: FloatArray, *, ridge: float, rows: IntArray | None = None
    ) -> list[Surrogate]:
        """Fit measurements.

        Args:
            targets: u, shape (rows, measurements).
            ridge: λ > 0.
            rows: Samples to use, also repeatedly; None: all.

        Returns:
            One surrogate a measurement, without the constant.
        """
        rows = np.arange(len(self._chosen)) if rows is None else rows
        centred = targets - targets.mean(axis=0)
        if len(rows) > MAX_DENSE_SAMPLES:
            beta = self._solve_sparse(centred, ridge, rows)
        elif len(rows) <= self.num_features:
            beta = self._solve_dual(centred, ridge, rows)
        else:
            beta = _solve_normal(self._dense[rows], centred, ridge)
        return [self._surrogate(column) for column in beta.T]

    @cached_property
    def _dense(self) -> FloatArray:
        # A feature of half the size is penalised four times as much.
        products = self._chosen[:, self._first] * self._chosen[:, self._second] * _PAIR_SCALE
        return np.hstack([self._chosen, products])

    @cached_property
    def _gram(self) -> FloatArray:
        gram: FloatArray = self._dense @ self._dense.T
        return gram

    def _solve_dual(self, targets: FloatArray, ridge: float, rows: IntArray) -> FloatArray:
        from scipy.linalg import cho_factor, cho_solve

        kernel = self._gram[np.ix_(rows, rows)]
        mean = kernel.mean(axis=0)
        kernel = kernel - mean - mean[:, None] + mean.mean()
        kernel[np.diag_indices(len(rows))] += ridge
        weights = cho_solve(cho_factor(kernel, overwrite_a=True), targets)
        # Each column of weights sums to 0, so that centring φ would change nothing.
        beta: FloatArray = self._dense[rows].T @ weights
        return beta

    def _solve_sparse(self, targets: FloatArray, ridge: float, rows: IntArray) -> FloatArray:
        from scipy.sparse.linalg import LinearOperator, cg

        features = self._sparse(rows)
        mean = np.asarray(features.mean(axis=0)).ravel()
        size = features.shape[1]

        def normal(beta: FloatArray) -> FloatArray:
            projected = features @ beta
            found: FloatArray = features.T @ (projected - projected.mean()) + ridge * beta
            return found

        squares = np.where(np.arange(size) < self._chosen.shape[1], mean, mean * _PAIR_SCALE)
        scale = 1 / (len(rows) * (squares - mean**2) + ridge)
        operator = LinearOperator((size, size), matvec=normal, dtype=np.float64)
        jacobi = LinearOperator((size, size), matvec=lambda v: scale * v.ravel(), dtype=np.float64)
        right = features.T @ targets
        columns = [
            cg(operator, b, rtol=_TOLERANCE, maxiter=10 * size, M=jacobi)[0] for b in right.T
        ]
        return np.stack(columns, axis=1)

    def _sparse(self, rows: IntArray) -> Any:
        """φ of some samples, in compressed rows."""
        from scipy.sparse import csr_array, hstack

        chosen = self._chosen[rows]
        number = np.full((chosen.shape[1],) * 2, -1)
        number[self._first, self._second] = np.arange(len(self._first))
        taken = np.nonzero(chosen)[1].reshape(len(rows), -1)
        both = combinations(range(taken.shape[1]), 2)
        columns = [number[taken[:, i], taken[:, j]] for i, j in both]
        pairs = np.array(columns, dtype=np.int64).reshape(-1, len(rows)).T
        kept = pairs >= 0  # the same in every row: which decisions a pair is of
        shape = (len(rows), len(self._first))
        indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
        products = csr_array(
            (np.full(int(kept.sum()), _PAIR_SCALE), pairs[kept], indptr), shape=shape
        )
        return hstack([csr_array(chosen), products], format="csr")

    def _surrogate(self, beta: FloatArray) -> Surrogate:
        size = self._chosen.shape[1]
        products = np.zeros((size, size))
        products[self._first, self._second] = beta[size:] * _PAIR_SCALE
        taken = [incidence(decision) for decision in self._space.decisions]
        slices = self._space.slices
        unary = tuple(
            rows @ beta[where] + np.einsum("oi,ij,oj->o", rows, products[where, where], rows)
            for rows, where in zip(taken, slices, strict=True)
        )
        pairs = {
            (d, e): taken[d] @ products[slices[d], slices[e]] @ taken[e].T
            for d, e in combinations(range(len(taken)), 2)
            if len(self._first)
        }
        return Surrogate(unary=unary, pairs=pairs)


def _solve_normal(features: FloatArray, targets: FloatArray, ridge: float) -> FloatArray:
    from scipy.linalg import cho_factor, cho_solve

    mean = features.mean(axis=0)
    normal = features.T @ features - len(features) * np.outer(mean, mean)
    normal[np.diag_indices(len(normal))] += ridge
    beta: FloatArray = cho_solve(cho_factor(normal, overwrite_a=True), features.T @ targets)
    return beta


def _halfway(shape: tuple[int, ...]) -> int:
    """Where to split the decisions, so that both halves have about as many configurations."""
    return min(range(1, max(2, len(shape))), key=lambda i: max(prod(shape[:i]), prod(shape[i:])))


def _indicators(sizes: Sequence[int]) -> FloatArray:
    """Which option each decision takes, of all configurations; shape (prod, sum of sizes)."""
    digits = np.unravel_index(np.arange(prod(sizes)), sizes)
    return np.concatenate([np.eye(n)[d] for n, d in zip(sizes, digits, strict=True)], axis=1)
