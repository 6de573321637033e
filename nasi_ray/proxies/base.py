"""A proxy: a number computed from an untrained network and one batch, and its description."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from nasi_ray.errors import ProxyFailedError
from nasi_ray.nasi.gradient import Loss


class Score(Protocol):
    """Scores a network; the same number at every call, and the network stays as it was."""

    def __call__(
        self,
        net: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        loss: Loss,
        micro_batch_size: int | None = None,
        seed: int = 0,
    ) -> float:
        """Score a network with its present parameters and training or eval mode.

        All proxies have the same arguments and ignore those they do not use. As published, batch
        norm is in training mode and needs the whole batch at once. Dropout in training mode would
        draw from the global generator: switch it off.

        Args:
            net: Called as ``net(x)``; gives logits, shape (batch, classes).
            x: Images, shape (batch, channels, height, width), of the network's type and device.
            y: Labels, shape (batch,).
            loss: Mean loss over the batch.
            micro_batch_size: Images at a time (≥ 1), to save memory; None for the whole batch.
                The score is the same but for rounding.
            seed: Seed for proxies that draw their own parameters or images, in [0, 2⁶³).

        Returns:
            A finite number; ``Proxy.higher_is_better`` says in which direction it is better.

        Raises:
            ProxyFailedError: If there is no finite score.
            ConfigError: If a micro-batch is smaller than the batch and batch norm couples images.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxy:
    """A proxy's function and what a report says of it."""

    name: str
    """Key in ``PROXIES``."""
    score: Score
    """The function; its value is as published, with the published sign."""
    higher_is_better: bool
    """Whether a larger value means a better network according to its paper, or a smaller one."""
    paper: str
    """Where it was first published, or first used to rank architectures."""
    year: int
    """Year of the paper."""
    needs_labels: bool
    """Whether the score depends on the labels."""
    description: str
    """Description in one line."""


def finite(name: str, value: Tensor | float) -> float:
    """Return a score as a float, or fail.

    Args:
        name: Name of the proxy.
        value: A scalar.

    Raises:
        ProxyFailedError: If it is NaN or infinite.
    """
    number = float(value)
    if not math.isfinite(number):
        raise ProxyFailedError(name, f"it is {number} for this network and batch")
    return number
