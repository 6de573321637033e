"""Multiply-adds of one image: the other baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nasi_ray.nasi.gradient import Loss
from nasi_ray.networks.sub_network import is_batch_norm
from nasi_ray.proxies.base import Proxy, finite
from nasi_ray.proxies.gradients import private_copy


def score(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    micro_batch_size: int | None = None,
    seed: int = 0,
) -> float:
    """Multiply-adds of convolutions and linear layers in one image's forward pass.

    Those of modules ``Conv2d`` and ``Linear``; batch norm, pooling (even where a convolution
    carries it out), additions and biases do not count. Nothing is computed: the network runs on
    torch's meta device.

    Args:
        net: Called as ``net(x)``.
        x: Gives the shape of an image.
        y: Not used.
        loss: Not used.
        micro_batch_size: Not used.
        seed: Not used.
    """
    return finite("multiply_adds", sum(madds for madds, _ in layer_costs(net, x)))


def layer_costs(net: nn.Module, x: Tensor) -> list[tuple[int, int]]:
    """Multiply-adds and elements of the output of each convolution and linear layer, for one image.

    Args:
        net: Called as ``net(x)``; not changed.
        x: Gives the shape of an image.

    Returns:
        In the order in which they are used; the elements of a linear layer's output are 0.
    """
    copy = private_copy(net).to("meta").eval()
    _drop_batch_norm(copy)
    costs: list[tuple[int, int]] = []

    def count(module: nn.Module, inputs: object, output: Tensor) -> None:
        # Every number of the output is an inner product with one row of the weights.
        weight = module.weight
        assert isinstance(weight, Tensor)
        elements = output.numel()
        costs.append((elements * weight[0].numel(), elements if weight.ndim > 2 else 0))

    for module in copy.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad(), _OnlyShapes():
        copy(x[:1].to("meta"))
    return costs


def _drop_batch_norm(net: nn.Module) -> None:
    # It counts for nothing, and is most of the time of a pass on the meta device.
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if is_batch_norm(child):
                setattr(parent, name, nn.Identity())


class _OnlyShapes(TorchFunctionMode):
    """Common functions give no more than the shape of their result.

    On the meta device they are slow, and the first of them imports torch's compiler (one second).
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if args and func in _OF_FIRST and all(_fits(other, args[0]) for other in args[1:2]):
            return args[0]
        shape_of = func if kwargs and set(kwargs) != {"dim"} else _SHAPE_OF.get(func, func)
        return shape_of(*args, **(kwargs or {}))


def _fits(other: object, x: Tensor) -> bool:
    if isinstance(other, Tensor):
        return bool(torch.broadcast_shapes(other.shape, x.shape) == x.shape)
    return isinstance(other, float)


def _concatenated(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    shape = list(tensors[0].shape)
    shape[dim] = sum(x.shape[dim] for x in tensors)
    return tensors[0].new_empty(shape)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return x.new_empty((*x.shape[:-1], len(weight)))


_OF_FIRST = (nn.functional.relu, torch.relu, torch.relu_, Tensor.add, Tensor.mul, Tensor.div)
_SHAPE_OF: dict[Any, Any] = {
    Tensor.mean: Tensor.sum,
    torch.cat: _concatenated,
    nn.functional.linear: _linear,
}


MULTIPLY_ADDS = Proxy(
    name="multiply_adds",
    score=score,
    higher_is_better=True,
    paper="Ning et al., Evaluating Efficient Performance Estimators of Neural Architectures",
    year=2021,
    needs_labels=False,
    description="multiply-adds of convolutions and linear layers per image, a baseline",
)
