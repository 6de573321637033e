"""NASWOT: how well the signs of the ReLUs tell the images of a batch apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from nasi_ray.errors import ProxyFailedError
from nasi_ray.nasi.gradient import Loss
from nasi_ray.proxies.base import Proxy, finite
from nasi_ray.proxies.gradients import micro_batches, private_copy

RELUS = {F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}


def score(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    micro_batch_size: int | None = None,
    seed: int = 0,
) -> float:
    """Log-determinant log |det K_H| of K_H[i, j] = N_A − d_H(c_i, c_j).

    c_i is the binary code of image i: whether each of the N_A ReLU outputs is positive; d_H is
    the Hamming distance. As in the authors' code, only the ReLUs that lead to the outputs count,
    whether modules or function calls. See ``base.Score`` for arguments.

    Raises:
        ProxyFailedError: If K_H is singular (images with equal codes, no ReLUs), or outputs are not
            finite.
        ConfigError: If a micro-batch is smaller than the batch and batch norm couples images.
    """
    copy = private_copy(net).requires_grad_(False)
    codes = [_codes(copy, part) for part, _, _ in micro_batches(copy, x, y, micro_batch_size)]
    kernel = torch.zeros((len(x), len(x)), dtype=torch.float64, device=x.device)
    for parts in zip(*codes, strict=True):
        signs = 2 * torch.cat(parts).double() - 1
        # Of n units, n − d are equal and d differ, and ⟨s_i, s_j⟩ = n − 2d.
        kernel += (signs.shape[1] + signs @ signs.T) / 2
    eigenvalues = torch.linalg.eigvalsh(kernel)
    if eigenvalues[0] <= len(x) * torch.finfo(torch.float64).eps * eigenvalues[-1]:
        raise ProxyFailedError("naswot", "its kernel is singular: images have dependent ReLU codes")
    return finite("naswot", eigenvalues.log().sum())


def _codes(net: nn.Module, x: Tensor) -> list[Tensor]:
    """Of each ReLU that leads to the outputs: which outputs are positive, shape (batch, units)."""
    recorder = _ReluRecorder()
    images = x.detach().clone().requires_grad_()
    with recorder:
        outputs = net(images).sum()
    # A NaN is not positive, and would pass for a ReLU that is off.
    finite("naswot", outputs.detach())
    if outputs.requires_grad:
        torch.autograd.grad(outputs, [images])
    return [recorder.codes[position] for position in sorted(recorder.reached)]


class _ReluRecorder(TorchFunctionMode):
    """Keeps the code of every ReLU of a forward pass; a backward pass shows which are reached."""

    def __init__(self) -> None:
        super().__init__()
        self.codes: list[Tensor] = []
        self.reached: set[int] = set()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in RELUS and output.requires_grad:
            output.register_hook(partial(self._reach, len(self.codes)))
            self.codes.append((output.detach() > 0).flatten(start_dim=1))
        return output

    def _reach(self, position: int, grad: Tensor) -> None:
        self.reached.add(position)


NASWOT = Proxy(
    name="naswot",
    score=score,
    higher_is_better=True,
    paper="Mellor et al., Neural Architecture Search without Training",
    year=2021,
    needs_labels=False,
    description="log-determinant of the kernel of binary ReLU codes",
)
