"""A model of a measurement in the choices: main effects and products of two, fitted by ridge.

φ(A) are the multi-hot choices of an architecture and, for second order, the products of two
choices, of different decisions or of one that takes several. β = argmin Σ_t (u_t − β·φ_t)² +
λ‖β‖², with φ and u centred. With main effects alone it is the score-function estimate of
∇_α E[u] at α = 0, up to scale. Products are penalised ten times as much as main effects
(``PAIR_PENALTY``): there are many more of them, and each is mostly small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

MAX_DECOMPOSED_FEATURES = 1500
"""With more features, resampled fits are solved one by one, as the fit of all samples is."""

PAIR_PENALTY = 10.0
"""Ridge of a product of two choices, in units of that of a main effect."""

_TOLERANCE = 1e-10
_RANK_TOLERANCE = 1e-9
_BLOCK = 64
"""Draws whose terms are arranged at once."""
_PAIR_SCALE = PAIR_PENALTY**-0.5


Pair = tuple[int, int]
"""Decisions d < e."""


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
        first, second, matrix = self.halves()
        values = first.reshape(-1, 1) + second.reshape(1, -1)
        if matrix is not None:
            rows, columns = indicators(first.shape), indicators(second.shape)
            values += (rows @ matrix) @ columns.T
        return values.reshape(first.shape + second.shape)

    def halves(self) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """The value as first[i] + second[j] + x_i · matrix · y_j (``indicators`` x and y).

        Returns:
            The terms of the first half of the decisions alone and of the second, one axis a
            decision, and the terms of one of each; None if there are none.
        """
        shape = tuple(map(len, self.unary))
        split = _halfway(shape)
        first, second = range(split), range(split, len(shape))
        return self._part(first), self._part(second), self._cross(split)

    def _part(self, decisions: range) -> FloatArray:
        """Terms of these decisions alone, one axis each."""
        total = sum_grid([self.unary[d] for d in decisions])
        for (d, e), table in self.pairs.items():
            if d in decisions and e in decisions:
                total += along(table, total.ndim, d - decisions.start, e - decisions.start)
        return total

    def _cross(self, split: int) -> FloatArray | None:
        """Terms of a decision before ``split`` and of one after it."""
        starts = np.cumsum([0, *map(len, self.unary)])
        matrix = np.zeros((starts[split], starts[-1] - starts[split]))
        across = [both for both in self.pairs if both[0] < split <= both[1]]
        for d, e in across:
            i, j = starts[d], starts[e] - starts[split]
            matrix[i : starts[d + 1], j : starts[e + 1] - starts[split]] += self.pairs[d, e]
        return matrix if across else None

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
            features = self._dense[rows]
            mean = features.mean(axis=0)
            beta = _solve_normal(features, centred, ridge, mean=mean, num=len(rows))
        return self._surrogates(beta.T)

    def fit_draws(
        self, targets: FloatArray, counts: IntArray, *, ridge: float, standardized: bool
    ) -> Iterator[Surrogate]:
        """The sum of the fits of samples drawn with replacement; most of the work is shared.

        It is the sum over ``fit`` of each draw's samples, to rounding.

        Args:
            targets: u of every draw, shape (draws, samples, measurements); what is not drawn has
                no effect.
            counts: How often each sample was drawn, shape (draws, samples).
            ridge: λ > 0.
            standardized: Divide each fit by its standard deviation over the space.

        Yields:
            One surrogate a draw, without the constant.
        """
        is_large = self.num_features > MAX_DECOMPOSED_FEATURES
        if is_large or len(self._chosen) > MAX_DENSE_SAMPLES:
            for u, count in zip(targets, counts, strict=True):
                rows = np.repeat(np.arange(len(count)), count)
                fits = self.fit(u[rows], ridge=ridge, rows=rows)
                yield standardized_sum(fits) if standardized else sum_of(fits)
            return
        features, basis = self._decomposed
        if not basis.shape[1]:  # all samples are of one architecture
            yield from self._surrogates(np.zeros((len(targets), len(basis))))
            return
        for start in range(0, len(targets), _BLOCK):
            found = []
            for u, count in zip(targets[start:][:_BLOCK], counts[start:][:_BLOCK], strict=True):
                rows = np.flatnonzero(count)
                beta = _solve_weighted(features[rows], u[rows], count[rows], ridge)
                if standardized:
                    stds = np.sqrt(np.maximum((beta * (self._variance @ beta)).sum(axis=0), 0.0))
                    beta = beta * np.divide(1.0, stds, out=np.zeros_like(stds), where=stds > 0)
                found.append(beta.sum(axis=1))
            yield from self._surrogates(np.array(found) @ basis.T)

    @cached_property
    def _decomposed(self) -> tuple[FloatArray, FloatArray]:
        """Centred φ in an orthonormal basis of its rows, and the basis.

        φ repeats itself: the choices of a decision add up to a constant. A ridge is the same in
        every orthonormal basis, and this one has about half as many features.
        """
        from scipy.linalg import eigh

        centred = self._dense - self._dense.mean(axis=0)
        values, vectors = eigh(centred.T @ centred)
        basis = vectors[:, values > _RANK_TOLERANCE * max(values[-1], 1.0)]
        return centred @ basis, basis

    @cached_property
    def _variance(self) -> FloatArray:
        """βᵀ V β is the variance over the space of a surrogate, β in the basis."""
        parts = [
            (part / np.sqrt(part[0].size)).reshape(len(part), -1)
            for part in _effects(*self._tables(self._decomposed[1].T))
        ]
        effects = np.hstack(parts)
        variance: FloatArray = effects @ effects.T
        return variance

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

    @cached_property
    def _taken(self) -> list[FloatArray]:
        return [incidence(decision) for decision in self._space.decisions]

    def _surrogates(self, beta: FloatArray) -> list[Surrogate]:
        """Those of many β, shape (fits, features)."""
        unary, pairs = self._tables(beta)
        return [
            Surrogate(
                unary=tuple(table[i] for table in unary),
                pairs={both: table[i] for both, table in pairs.items()},
            )
            for i in range(len(beta))
        ]

    def _tables(self, beta: FloatArray) -> tuple[list[FloatArray], dict[Pair, FloatArray]]:
        """Terms of ``Surrogate`` for many β, shape (fits, features); with an axis of fits first."""
        size = self._chosen.shape[1]
        slices = self._space.slices
        unary = [beta[:, where] @ rows.T for rows, where in zip(self._taken, slices, strict=True)]
        if not len(self._first):
            return unary, {}
        products = np.zeros((len(beta), size, size))
        products[:, self._first, self._second] = beta[:, size:] * _PAIR_SCALE
        for d, (rows, where) in enumerate(zip(self._taken, slices, strict=True)):
            if self._space.decisions[d].num_chosen > 1:
                unary[d] = unary[d] + np.einsum(
                    "oi,bij,oj->bo", rows, products[:, where, where], rows
                )
        pairs = {
            (d, e): self._taken[d] @ products[:, slices[d], slices[e]] @ self._taken[e].T
            for d, e in combinations(range(len(slices)), 2)
        }
        return unary, pairs


def sum_of(fits: Sequence[Surrogate]) -> Surrogate:
    """Their sum."""
    total = fits[0]
    for fit in fits[1:]:
        total = total + fit
    return total


def standardized_sum(fits: Sequence[Surrogate]) -> Surrogate:
    """The sum of surrogates, each divided by its standard deviation over the space.

    What does not vary at all is multiplied by 0.
    """
    stds = [fit.std() for fit in fits]
    return sum_of(
        [fit * (1 / std if std > 0 else 0.0) for fit, std in zip(fits, stds, strict=True)]
    )


def _effects(unary: Sequence[FloatArray], pairs: Mapping[Pair, FloatArray]) -> Iterator[FloatArray]:
    """Main effects and interactions, centred, of tables with an axis of fits first.

    They are uncorrelated over the space.
    """
    main = [table - table.mean(axis=1, keepdims=True) for table in unary]
    for (d, e), table in pairs.items():
        rows, columns = table.mean(axis=2), table.mean(axis=1)
        mean = rows.mean(axis=1)
        main[d] = main[d] + rows - mean[:, None]
        main[e] = main[e] + columns - mean[:, None]
        yield table - rows[:, :, None] - columns[:, None, :] + mean[:, None, None]
    yield from main


def _solve_weighted(
    features: FloatArray, targets: FloatArray, counts: IntArray, ridge: float
) -> FloatArray:
    """Ridge of samples, each of which counts several times."""
    share, weight = counts / counts.sum(), np.sqrt(counts)[:, None]
    return _solve_normal(
        features * weight,
        weight * (targets - share @ targets),
        ridge,
        mean=share @ features,
        num=int(counts.sum()),
    )


def _solve_normal(
    features: FloatArray, targets: FloatArray, ridge: float, *, mean: FloatArray, num: int
) -> FloatArray:
    """Ridge of centred targets; ``mean`` is that of φ over the ``num`` samples."""
    from scipy.linalg.lapack import dposv

    normal = features.T @ features
    normal -= (num * mean)[:, None] * mean
    normal[np.diag_indices(len(normal))] += ridge
    beta: FloatArray
    _, beta, status = dposv(normal, features.T @ targets, overwrite_a=True)
    if status:
        raise np.linalg.LinAlgError(f"the normal matrix is singular (dposv: {status})")
    return beta


def _halfway(shape: tuple[int, ...]) -> int:
    """Where to split the decisions, so that both halves have about as many configurations."""
    return min(range(1, max(2, len(shape))), key=lambda i: max(prod(shape[:i]), prod(shape[i:])))


def indicators(sizes: Sequence[int]) -> FloatArray:
    """Which option each decision takes, of all configurations; shape (prod, sum of sizes)."""
    digits = np.unravel_index(np.arange(prod(sizes)), sizes)
    return np.concatenate([np.eye(n)[d] for n, d in zip(sizes, digits, strict=True)], axis=1)
