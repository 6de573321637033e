"""Stand-alone networks of single architectures, by space: the benchmarks' own networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from nasi_ray.errors import UnknownNameError
from nasi_ray.networks.standalone_nb101 import NB101Network
from nasi_ray.networks.standalone_nb201 import NB201Network
from nasi_ray.spaces.nb1shot1 import NB1Shot1Architecture
from nasi_ray.spaces.nb201 import NB201Architecture


def nb101_network(architecture: NB1Shot1Architecture, **settings: int) -> NB101Network:
    """NAS-Bench-101's network of an architecture of S1, S2 or S3; loose ends are pruned.

    Args:
        architecture: The cell.
        settings: ``NB101Network``'s keywords.
    """
    return NB101Network(architecture.matrix(), architecture.vertex_ops(), **settings)


def nb201_network(architecture: NB201Architecture, **settings: int) -> NB201Network:
    """NAS-Bench-201's network of an architecture.

    Args:
        architecture: The cell.
        settings: ``NB201Network``'s keywords.
    """
    return NB201Network(architecture, **settings)


STANDALONE: dict[str, Callable[..., nn.Module]] = {
    "s1": nb101_network,
    "s2": nb101_network,
    "s3": nb101_network,
    "nb201": nb201_network,
}
"""Space name -> constructor of (architecture, keywords num_channels and num_classes)."""


def make_standalone(
    space: str, architecture: Any, *, num_classes: int, num_channels: int | None = None
) -> nn.Module:
    """Build the benchmark's own network of an architecture, called as ``net(x)``.

    Args:
        space: ``s1``, ``s2``, ``s3`` or ``nb201``.
        architecture: An architecture of that space.
        num_classes: Classes.
        num_channels: Channels of the first stage; None for the benchmark's, 128 or 16.

    Returns:
        The network, to be made inside ``initialization.build`` for parameters of a known seed.

    Raises:
        UnknownNameError: If the space has no network of this kind.
        ValueError: If there are too few channels for the cell.
    """
    if space not in STANDALONE:
        raise UnknownNameError("space with stand-alone networks", space, list(STANDALONE))
    width = {} if num_channels is None else {"num_channels": num_channels}
    return STANDALONE[space](architecture, num_classes=num_classes, **width)
