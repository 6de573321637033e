"""The sub-network of an architecture: a supernet on one path, called like a network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from nasi_ray.networks.batch_norm import BatchNorm
from nasi_ray.networks.mixture import PathMixer


class SubNetwork(nn.Module):
    """A supernet on one architecture's path, without the layers off it; called as ``net(x)``."""

    def __init__(self, supernet: nn.Module, mixer: PathMixer) -> None:
        super().__init__()
        self.supernet = supernet
        self._mixer = mixer

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, classes), of images of shape (batch, 3, height, width)."""
        logits: Tensor = self.supernet(x, self._mixer)
        return logits


def sub_network(
    supernet: nn.Module, chosen: Callable[[int, int], Sequence[int]], used: set[str]
) -> SubNetwork:
    """Copy the part of a supernet that an architecture uses.

    Args:
        supernet: Called as ``net(x, mixer)``.
        chosen: (cell, decision) -> candidates.
        used: Names of the layers on the path (``layers_used``).
    """
    off_path: dict[int, nn.Module] = {
        id(module): nn.Identity()
        for name, module in supernet.named_modules()
        if _is_layer(module) and name not in used
    }
    # deepcopy takes what its memo holds in place of a copy.
    result = copy.deepcopy(supernet, dict(off_path))
    for module in result.modules():
        if parametrize.is_parametrized(module, "weight"):
            # torch removes the parametrization from the class, which the copy shares.
            module.__class__ = _class_of_its_own(type(module))
            # Of the NTK parameterisation s θ is kept: proxies ask for the layer's own weight.
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return SubNetwork(result, PathMixer(chosen))


def _class_of_its_own(shared: type) -> type:
    return type(shared.__name__, shared.__bases__, dict(vars(shared)))


def layers_used(
    supernet: nn.Module, chosen: Callable[[int, int], Sequence[int]], x: Tensor
) -> set[str]:
    """Names of the layers that an architecture's path runs through.

    Args:
        supernet: Called as ``net(x, mixer)``; on the meta device nothing is computed.
        chosen: (cell, decision) -> candidates.
        x: Images, on its device.
    """
    used: set[str] = set()
    hooks = [
        module.register_forward_pre_hook(lambda module, args, name=name: used.add(name))
        for name, module in supernet.named_modules()
        if _is_layer(module)
    ]
    with torch.no_grad():
        supernet(x, PathMixer(chosen))
    for hook in hooks:
        hook.remove()
    return used


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a module is a batch norm, torch's or ours."""
    return isinstance(module, BatchNorm | _BatchNorm)


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d | nn.Linear) or is_batch_norm(module)
