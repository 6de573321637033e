"""Sizes of networks, counted on torch's meta device: no memory is taken, nothing is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import nn

from nasi_ray.proxies.multiply_adds import layer_costs
from nasi_ray.run.limits import Limited, largest_channels, parse_limits
from nasi_ray.spaces.network_costs import NetworkCost


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What a network holds and what an image costs in evaluation mode."""

    parameters: int
    """Trainable parameters without the auxiliary tower."""
    auxiliary_parameters: int
    """Those of the auxiliary tower, which is used in training only."""
    madds: int
    """Multiply-adds of convolutions and linear layers."""
    activations: int
    """Elements of the outputs of convolutions."""


def count(make: Callable[[], nn.Module], *, image_size: int) -> Counts:
    """Count a network.

    Args:
        make: Constructor; the auxiliary tower, if there is one, is the child ``auxiliary``.
        image_size: Height and width of the image in pixels.
    """
    with torch.device("meta"):
        net = make().eval()
        x = torch.empty((1, 3, image_size, image_size))
    tower = next((child for name, child in net.named_children() if name == "auxiliary"), None)
    auxiliary = 0 if tower is None else _params(tower)
    costs = layer_costs(net, x)
    return Counts(
        parameters=_params(net) - auxiliary,
        auxiliary_parameters=auxiliary,
        madds=sum(madds for madds, _ in costs),
        activations=sum(elements for _, elements in costs),
    )


def widest(
    make: Callable[[int], nn.Module], limits: Limited, *, image_size: int, smallest: int = 1
) -> int:
    """The largest number of channels whose network is within limits.

    Args:
        make: Channels -> the network.
        limits: Most parameters and multiply-adds.
        image_size: Height and width of the image in pixels.
        smallest: Fewest channels.

    Raises:
        ConfigError: If the narrowest network is above a limit, or the widest below all.
    """

    @cache
    def cost(channels: int) -> NetworkCost:
        found = count(partial(make, channels), image_size=image_size)
        return NetworkCost(found.parameters, found.madds)

    return largest_channels(cost, *parse_limits(limits), smallest=smallest)


def _params(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())
