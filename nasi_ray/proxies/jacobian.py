"""∇_θ f of a network by backward passes, row by row, for the exact NTK in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from nasi_ray.proxies.gradients import couples_examples


def jacobian_rows(net: nn.Module, params: Sequence[Tensor], x: Tensor) -> Iterator[Tensor]:
    """Rows ∂f_ic/∂θ of the Jacobian: image i = 0, 1, …, and for each, class c = 0, 1, ….

    Where batch norm couples the images, f is the map from θ to the outputs of the whole batch and
    a row costs a backward pass of the whole batch; elsewhere, of one image.

    Args:
        net: The network; its running statistics may change.
        params: What to differentiate by.
        x: Images, shape (batch, channels, height, width).

    Yields:
        shape (params,), batch·classes times; one is in memory at a time.
    """
    for part in [x] if couples_examples(net) else x.split(1):
        for output in net(part).flatten().unbind():
            grads = torch.autograd.grad(
                output, params, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            yield torch.cat([grad.flatten() for grad in grads])
