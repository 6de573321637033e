"""Limits of a network's size, and the widest network within them. Quick to import."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Protocol

from nasi_ray.errors import ConfigError
from nasi_ray.spaces.final_network import MAX_CHANNELS
from nasi_ray.spaces.network_costs import NetworkCost

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)([kmg]?)", re.IGNORECASE)
_FACTORS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}


class Limited(Protocol):
    """Settings with limits of a network."""

    @property
    def max_params(self) -> str | None:
        """Most parameters."""

    @property
    def max_madds(self) -> str | None:
        """Most multiply-adds."""


def parse_limits(settings: Limited) -> tuple[float, float]:
    """Most parameters and most multiply-adds; infinite where there is no limit.

    Raises:
        ConfigError: If one is no number above 0.
    """
    params = parse_number("max_params", settings.max_params)
    return params, parse_number("max_madds", settings.max_madds)


def parse_number(name: str, text: str | None) -> float:
    """Read ``600M``; infinity for None.

    Args:
        name: Of the setting, for messages.
        text: A number, perhaps with K, M or G after it.

    Raises:
        ConfigError: If it is no number above 0.
    """
    if text is None:
        return float("inf")
    match = _NUMBER.fullmatch(text.strip())
    number = float(match[1]) * _FACTORS[match[2].lower()] if match else 0.0
    if not number > 0:
        raise ConfigError(f"{name} is {text!r}; give a number such as 600M, 0.6G or 600000000")
    return number


def largest_channels(
    cost: Callable[[int], NetworkCost], max_params: float, max_madds: float, *, smallest: int = 1
) -> int:
    """The largest number of channels within limits.

    Args:
        cost: Channels -> cost, which grows with channels, as their square at most. It is asked for
            the same number more than once.
        max_params: Most parameters.
        max_madds: Most multiply-adds.
        smallest: Fewest channels.

    Raises:
        ConfigError: If the narrowest network is above a limit, or the widest below all.
    """

    def room(channels: int) -> float:
        """How many times its cost the limits allow; 1 or more: it fits."""
        found = cost(channels)
        return min(max_params / found.params, max_madds / found.multiply_adds)

    if room(smallest) < 1:
        least = cost(smallest)
        raise ConfigError(
            f"the narrowest network (C={smallest}) has {least.params:,} parameters and "
            f"{least.multiply_adds:,} multiply-adds, which is above the limit; give higher limits"
        )
    low, high = smallest, MAX_CHANNELS + 1
    while high - low > 1:
        # Costs grow by at most the square of C, so what this skips fits.
        middle = max(int(min(low * math.sqrt(room(low)), high - 1)), low + 1)
        low, high = (middle, high) if room(middle) >= 1 else (low, middle)
    if high > MAX_CHANNELS:
        raise ConfigError(f"C={low} is still within the limits; give lower limits")
    return low
