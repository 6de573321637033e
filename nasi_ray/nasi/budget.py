"""Limits of the final network's size: which configurations fit, and the best of those."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from nasi_ray.arrays import FloatArray, IntArray
from nasi_ray.config import EstimateConfig
from nasi_ray.errors import ConfigError
from nasi_ray.nasi.estimator import FrontPoint
from nasi_ray.nasi.selection import Selection, select_by_ascent
from nasi_ray.nasi.surrogate import Surrogate, additive
from nasi_ray.spaces.base import Architecture, Cost, SearchSpace
from nasi_ray.spaces.options import costs_of

COSTS: tuple[Cost, ...] = ("params", "multiply_adds")
_LARGEST_PRICE = 1000.0
_DRAWN_STEPS = 5
"""Bisections of the price of a draw: to about 3 % of the first one's."""
FRONT_QUANTILES = tuple(0.1 * k for k in range(1, 11))
"""Shares of the space's cells that fit the budgets of a front."""


class Budget:
    """Which configurations are allowed, and what they cost."""

    def __init__(
        self, space: SearchSpace, config: EstimateConfig, *, with_front: bool = True
    ) -> None:
        """Take limits.

        Args:
            space: The space.
            config: Holds the limits.
            with_front: Whether ``front`` is wanted, which takes as long as the cell itself.
        """
        self._space = space
        self._with_front = with_front
        self._limits: dict[Cost, float | None] = {
            "params": config.max_params,
            "multiply_adds": config.max_madds,
        }
        self.is_limited = any(limit is not None for limit in self._limits.values())
        self._names = {"params": "max_params", "multiply_adds": "max_madds"}
        self._pairing = config.pairing
        self._price: float | None = None

    @cached_property
    def costs(self) -> dict[Cost, FloatArray] | None:
        """Kind -> cost of every configuration; None if the space does not know it."""
        params, madds = (costs_of(self._space, kind) for kind in COSTS)
        if params is None or madds is None:
            if self.is_limited and self._prices is None:
                raise ConfigError(
                    f"space {self._space.name!r} has no method `costs`, which max_params and "
                    "max_madds need; leave them out, or add the method (docs/extending.md)"
                )
            return None
        return {"params": params, "multiply_adds": madds}

    @cached_property
    def allowed(self) -> npt.NDArray[np.bool_] | None:
        """Of every configuration; None if there is no limit."""
        if not self.is_limited or self.costs is None:
            return None
        allowed = np.ones(self.costs["params"].shape, dtype=np.bool_)
        for kind, limit in self._limits.items():
            if limit is not None:
                allowed &= self.costs[kind] <= limit
                if not allowed.any():
                    raise ConfigError(
                        f"{self._names[kind]} is {limit:g}; no cell of {self._space.name} fits: "
                        f"the smallest has {self.costs[kind].min():.0f}; give at least that"
                    )
        return allowed

    @cached_property
    def _prices(self) -> Surrogate | None:
        """What options cost in units of the limits; None if that is not known, or no limit."""
        total = None
        for kind, limit in self._limits.items():
            costs = self._space.option_costs(kind) if limit is not None else None
            if costs is not None and limit is not None:
                part = additive(costs) * (1 / limit)
                total = part if total is None else total + part
        return total

    def select_by_ascent(self, score: Surrogate, *, num_starts: int) -> Selection:
        """The best of a space that cannot be enumerated.

        If it is too large, a price of size is taken from the score: the smallest one, to about one
        part in a thousand, with which it fits.

        Raises:
            ConfigError: If no price makes it fit.
        """
        if not self.is_limited or self._prices is None:
            return select_by_ascent(score, self._space, num_starts=num_starts)
        scale = score.std() / (self._prices.std() or 1.0)

        def at(price: float) -> tuple[Selection, bool]:
            priced = score + self._prices_times(-price * scale)
            found = select_by_ascent(priced, self._space, num_starts=num_starts)
            return found, self._fits(found)

        low, high = 0.0, 0.0 if self._price is None else self._price
        found, fits = at(high)
        while not fits:
            low, high = high, max(2 * high, 0.25)
            if high > _LARGEST_PRICE:
                raise self._too_small(found)
            found, fits = at(high)
        # Later scores are draws about the first one, and begin at its price.
        for _ in range((10 if self._price is None else _DRAWN_STEPS) if high else 0):
            middle = (low + high) / 2
            candidate, fits = at(middle)
            low, high = (low, middle) if fits else (middle, high)
            found = candidate if fits else found
        if self._price is None:
            self._price = high
        return found

    def _prices_times(self, factor: float) -> Surrogate:
        assert self._prices is not None
        return self._prices * factor

    def _architecture(self, found: Selection) -> Architecture:
        return self._space.select(self._space.split(found.alpha), pairing=self._pairing)

    def _fits(self, found: Selection) -> bool:
        sizes = self._space.costs_of(self._architecture(found))
        return all(limit is None or sizes[kind] <= limit for kind, limit in self._limits.items())

    @property
    def _limited(self) -> str:
        return ", ".join(
            f"{self._names[kind]} is {limit:g}" for kind, limit in self._limits.items() if limit
        )

    def _sizes(self, found: Selection) -> str:
        sizes = self._space.costs_of(self._architecture(found))
        return " and ".join(f"{size:.0f} {kind.replace('_', '-')}" for kind, size in sizes.items())

    def refuse_empty(self) -> None:
        """Raise if there are limits, and no cell is known to fit them."""
        if not self.is_limited:
            return
        _ = self.allowed
        if self._prices is not None and self.costs is None:
            cheapest = select_by_ascent(self._prices * -1.0, self._space, num_starts=0)
            if not self._fits(cheapest):
                raise self._too_small(cheapest)

    def _too_small(self, found: Selection) -> ConfigError:
        return ConfigError(
            f"{self._limited}; no cell of {self._space.name} fits: the smallest found has "
            f"{self._sizes(found)}"
        )

    def at(self, position: IntArray) -> dict[Cost, float]:
        """Kind -> cost of one configuration; empty if the space does not know it."""
        found = self.costs or {}
        return {kind: float(cost[tuple(position)]) for kind, cost in found.items()}

    def front(self, score: FloatArray) -> tuple[FrontPoint, ...]:
        """The best cell for each of ten limits of the parameters."""
        if self.costs is None or not self._with_front:
            return ()
        params, madds = self.costs["params"], self.costs["multiply_adds"]
        points = []
        for limit in np.quantile(params, FRONT_QUANTILES, method="higher"):
            fits = params <= limit
            if self.allowed is not None:
                fits &= self.allowed
            if not fits.any():
                continue
            at = np.unravel_index(int(np.argmax(np.where(fits, score, -np.inf))), score.shape)
            points.append(
                FrontPoint(
                    max_params=float(limit),
                    position=np.array(at),
                    num_params=float(params[at]),
                    multiply_adds=float(madds[at]),
                    score=float(score[at]),
                )
            )
        return tuple(points)
