"""θ0: parameters drawn from a separate generator.

The global generator is not used, so that θ0 depends only on the search seed, not on what ran
before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nasi_ray.networks.batch_norm import BatchNorm

Initialization = Literal["default", "kaiming", "xavier", "ntk"]
"""How weights are drawn; biases are zero but for ``default``.

- ``default``: as ``torch.nn``'s ``reset_parameters``, U(±1/√fan_in), biases too.
- ``kaiming``: N(0, 2/fan_in) (He et al. 2015).
- ``xavier``: N(0, 2/(fan_in + fan_out)) (Glorot and Bengio 2010).
- ``ntk``: θ ~ N(0, 1), the layer's weight being θ/√fan_in (NTK parameterisation, Jacot et al.
  2018), so that gradients are with respect to θ.
"""


def build(
    make: Callable[[], nn.Module],
    *,
    seed: int,
    dtype: torch.dtype,
    init: Initialization = "default",
    batch_norm: Literal["auto", "affine", "plain"] = "auto",
) -> nn.Module:
    """Build a network with freshly drawn parameters, on the CPU.

    Args:
        make: Constructor; its own initialisation is not run. Batch norm starts with γ = 1, β = 0.
        seed: Seed of the draw, in [0, 2⁶³).
        dtype: Type of the parameters; the draw is in float64 and rounded.
        init: How weights are drawn.
        batch_norm: Whether batch norm has γ and β; auto: as the constructor made it.

    Returns:
        The network, its parameters drawn in the order of ``modules()``.

    Raises:
        TypeError: If a module with parameters or buffers is neither convolution nor linear layer
            nor batch norm.
    """
    with torch.device("meta"):
        net = make()
        if batch_norm != "auto":
            for module in net.modules():
                if isinstance(module, BatchNorm):
                    module.set_affine(batch_norm == "affine")
    net = net.to(dtype)
    # As to_empty, which imports sympy: half a second.
    state = {name: torch.empty(t.shape, dtype=t.dtype) for name, t in net.state_dict().items()}
    net.load_state_dict(state, assign=True)
    _prepare_layers(net, init)
    draw_parameters(net, seed=seed, init=init)
    return net


def _prepare_layers(net: nn.Module, init: Initialization) -> None:
    """Set the weights' parameterisation, and batch norm's γ and β."""
    for module in list(net.modules()):
        if isinstance(module, _LAYERS):
            if init == "ntk":
                scale = 1 / math.sqrt(module.weight[0].numel())
                parametrize.register_parametrization(module, "weight", _Scaled(scale))
        elif isinstance(module, BatchNorm | nn.BatchNorm2d):
            module.reset_parameters()
        elif any(True for _ in chain(module.parameters(False), module.buffers(False))):
            raise TypeError(f"no initialisation is defined for {type(module).__name__}")


def draw_parameters(net: nn.Module, *, seed: int, init: Initialization) -> None:
    """Draw a built network's parameters again, in place, on any device.

    Args:
        net: Returned by ``build`` with the same ``init``; its γ and β are not changed.
        seed: Seed of the draw, in [0, 2⁶³); the seed of ``build`` gives the same parameters.
        init: How weights are drawn.
    """
    ParameterDraw(net, init)(seed)


class ParameterDraw:
    """Draws a network's parameters again and again; looks for them only once.

    Args:
        net: Returned by ``build`` with the same ``init``; its γ and β are not changed.
        init: How weights are drawn.
    """

    def __init__(self, net: nn.Module, init: Initialization) -> None:
        self._init = init
        layers = [module for module in net.modules() if isinstance(module, _LAYERS)]
        self._parameters = [(_parameter(layer), layer.bias) for layer in layers]

    def __call__(self, seed: int) -> None:
        """Draw, in place, on any device; ``seed`` is in [0, 2⁶³)."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for theta, bias in self._parameters:
                drawn, drawn_bias = _drawn(theta.shape, bias is not None, generator, self._init)
                theta.copy_(drawn)
                if bias is not None and drawn_bias is not None:
                    bias.copy_(drawn_bias)


_LAYERS = (nn.Conv2d, nn.Linear)


def _parameter(layer: nn.Module) -> Tensor:
    """The layer's weight or, in the NTK parameterisation, its θ."""
    if parametrize.is_parametrized(layer, "weight"):
        return layer.get_parameter("parametrizations.weight.original")
    return layer.get_parameter("weight")


def _drawn(
    shape: torch.Size, has_bias: bool, generator: torch.Generator, init: Initialization
) -> tuple[Tensor, Tensor | None]:
    """Weight of this shape, and bias, float64, on the CPU."""
    weight = torch.empty(shape, dtype=torch.float64)
    bias = torch.zeros(shape[0], dtype=torch.float64) if has_bias else None
    if init == "default":
        # kaiming_uniform with a = √5 is U(±1/√fan_in) for the weight, as for the bias.
        bound = 1 / math.sqrt(weight[0].numel())
        weight.uniform_(-bound, bound, generator=generator)
        if bias is not None:
            bias.uniform_(-bound, bound, generator=generator)
    elif init == "kaiming":
        nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
    elif init == "xavier":
        nn.init.xavier_normal_(weight, generator=generator)
    else:
        weight.normal_(generator=generator)
    return weight, bias


class _Scaled(nn.Module):
    """θ -> s θ, a weight's NTK parameterisation."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self._scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self._scale * x

    def right_inverse(self, weight: Tensor) -> Tensor:
        # What was drawn is θ itself; the layer's weight becomes s θ.
        return weight
