"""Zen: how strongly a network with Gaussian weights reacts to a small change of its input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nasi_ray.errors import ProxyFailedError
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
    num_repeats: int = 1,
    perturbation: float = 1e-2,
) -> float:
    """Sensitivity log E‖f(z) − f(z + α ε)‖_F + Σ_l log √(mean_c σ²_lc).

    f is the map before the global average; weights, z and ε are N(0, 1), biases 0, and batch
    norm has γ = 1, β = 0 and normalises by the batch; σ²_lc is its variance of channel c for z.
    A batch norm whose input is all zeros (behind an operation ``none``) scales nothing and is left
    out. The authors' code uses the 1-norm, takes σ² from running averages that still hold part of
    their initial value, and removes skip connections for the score; here the network is not
    changed.

    Args:
        net: Called as ``net(x)``; its parameters do not matter.
        x: Gives number and shape of the images, type and device.
        y: Not used.
        loss: Not used.
        micro_batch_size: Not used; nothing is kept for a backward pass.
        seed: Of weights, z and ε, in [0, 2⁶³).
        num_repeats: Number of draws to average over (≥ 1); 32 in the authors' code.
        perturbation: α.

    Raises:
        ProxyFailedError: If the map does not depend on the images, overflows, or is not found.
    """
    copy = private_copy(net).requires_grad_(False).train()
    variances: list[Tensor] = []
    _record_variances(copy, variances)
    generator = torch.Generator().manual_seed(seed)
    total = 0.0
    for _ in range(num_repeats):
        _draw_gaussian(copy, generator)
        z, epsilon = (_normal(x, generator) for _ in range(2))
        variances.clear()
        clean = feature_map(copy, z)
        scales = [v.mean().log() / 2 for v in variances if bool(v.any())]
        difference = clean - feature_map(copy, z + perturbation * epsilon)
        norms = torch.linalg.vector_norm(difference.double().flatten(start_dim=1), dim=1)
        total += finite("zen", norms.mean().log() + sum(scales))
    return finite("zen", total / num_repeats)


def feature_map(net: nn.Module, x: Tensor) -> Tensor:
    """The last map of a forward pass that is turned into one vector per image.

    It is the input of a global average or a flattening, whether a module or a function call.

    Args:
        net: Called as ``net(x)``.
        x: Images, shape (batch, channels, height, width).

    Returns:
        shape (batch, channels, height, width)

    Raises:
        ProxyFailedError: If there is no such map.
    """
    recorder = _MapRecorder()
    with recorder:
        net(x)
    if recorder.last is None:
        raise ProxyFailedError("zen", "the network never turns a feature map into a vector")
    return recorder.last


class _MapRecorder(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.last: Tensor | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if args and _is_map(args[0]) and _is_vector(output) and len(output) == len(args[0]):
            self.last = args[0]
        return output


def _is_map(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 4 and not _is_vector(value)


def _is_vector(value: Any) -> bool:
    """Whether it holds one vector per image: (batch, n) or (batch, n, 1, 1)."""
    if not isinstance(value, Tensor):
        return False
    return value.dim() == 2 or (value.dim() == 4 and value.shape[2:] == (1, 1))


def _record_variances(net: nn.Module, variances: list[Tensor]) -> None:
    def record(module: nn.Module, args: tuple[Tensor]) -> None:
        variances.append(args[0].double().transpose(0, 1).flatten(1).var(dim=1, correction=0))

    for module in net.modules():
        if is_batch_norm(module):
            module.register_forward_pre_hook(record)


def _draw_gaussian(net: nn.Module, generator: torch.Generator) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.copy_(_normal(module.weight, generator))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif is_batch_norm(module):
            for name, parameter in module.named_parameters(recurse=False):
                nn.init.constant_(parameter, 1 if name == "weight" else 0)


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    # On the CPU and in float64, so that a seed means the same numbers everywhere.
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)


ZEN = Proxy(
    name="zen",
    score=score,
    higher_is_better=True,
    paper="Lin et al., Zen-NAS: A Zero-Shot NAS for High-Performance Image Recognition",
    year=2021,
    needs_labels=False,
    description="log-sensitivity of the features to the input, with Gaussian weights",
)
