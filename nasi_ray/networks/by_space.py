"""The networks of a space: its one-shot networks, and the stand-alone ones of its architectures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import nn

from nasi_ray.errors import ConfigError
from nasi_ray.registry import import_from
from nasi_ray.spaces import get_space
from nasi_ray.spaces.base import SearchSpace

Chosen = Callable[[int, int], Sequence[int]]
"""(cell, decision) -> candidates taken there; cells and decisions are counted from 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceNetworks:
    """How to make the networks of a space."""

    supernet: Callable[..., nn.Module]
    """Keywords init_channels, num_cells, num_classes -> a module called as ``net(x, mixer)``."""
    cell_types: Callable[[int], tuple[str, ...]]
    """Number of cells -> type of each, a key of ``SearchSpace.cell_types``."""
    chosen: Callable[[Any], Chosen] | None = None
    """Architecture -> its path through the supernet; None: no sub-network can be ranked."""
    standalone: Callable[..., nn.Module] | None = None
    """Architecture, and keywords num_channels and num_classes (and num_cells, where the benchmark
    does not fix it) -> the benchmark's own network, called as ``net(x)``; None: the space has
    none."""
    trainable: Callable[..., nn.Module] | None = None
    """As ``standalone``, of torch's own operations only, so that it can be compiled, distributed
    and exported; None: ``standalone`` is."""


@cache
def networks_of(space: SearchSpace) -> SpaceNetworks:
    """The networks of a space.

    Raises:
        ConfigError: If it has no networks.
    """
    where = space.networks
    if where is None:
        raise ConfigError(
            f"space {space.name!r} has no networks, so nothing can be evaluated; give its class a "
            "property `networks`, as docs/extending.md says"
        )
    make = import_from(where) if isinstance(where, str) else where
    networks: SpaceNetworks = make(space)
    return networks


def make_standalone(
    space: str,
    architecture: Any,
    *,
    num_classes: int,
    num_channels: int | None = None,
    num_cells: int | None = None,
    trainable: bool = False,
) -> nn.Module:
    """Build the benchmark's own network of an architecture, called as ``net(x)``.

    Args:
        space: Name of the space.
        architecture: An architecture of that space.
        num_classes: Classes.
        num_channels: Channels of the first stage; None for the benchmark's.
        num_cells: Cells, in spaces whose benchmark does not fix them; None for the usual number.
        trainable: Whether it is to be trained and exported (``SpaceNetworks.trainable``).

    Returns:
        The network; build it with ``initialization.build`` for parameters of a known seed.

    Raises:
        ConfigError: If the space has no network of this kind.
        ValueError: If there are too few channels for the cell.
    """
    networks = networks_of(get_space(space))
    standalone = (networks.trainable if trainable else None) or networks.standalone
    if standalone is None:
        raise ConfigError(
            f"space {space!r} has no stand-alone networks; use --network supernet, or another space"
        )
    given = {"num_channels": num_channels, "num_cells": num_cells}
    asked = {name: number for name, number in given.items() if number is not None}
    return standalone(architecture, num_classes=num_classes, **asked)
