"""Tiny networks in float64, whose proxies can be worked out the slow way, and their batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasi_ray.nasi.loss import LOSSES
from nasi_ray.networks.batch_norm import BatchNorm

NUM_CLASSES = 3
LOSS = LOSSES["cross-entropy"]

Net = TypeVar("Net", bound=nn.Module)


class PlainNet(nn.Module):
    """Two convolutions with biases, ReLUs, global average, linear; a third leads nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 2, 3, padding=1)
        self.second = nn.Conv2d(2, 3, 3, stride=2)
        self.nowhere = nn.Conv2d(2, 2, 1)
        self.classifier = nn.Linear(3, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        F.relu(self.nowhere(x))
        x = torch.relu(self.second(x))
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


class NormNet(nn.Module):
    """Convolution, batch norm, ReLU, twice; global average, linear."""

    def __init__(self, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, bias=False),
            norm(4),
            nn.ReLU(),
            nn.Conv2d(4, 3, 3, bias=False),
            norm(3),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.classifier = nn.Linear(3, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.body(x))
        return logits


def plain_net(seed: int = 0) -> PlainNet:
    return _drawn(PlainNet, seed)


def norm_net(seed: int = 0) -> NormNet:
    return _drawn(NormNet, seed)


def own_norm_net(seed: int = 0) -> NormNet:
    """With this package's batch norm, which keeps no statistics."""
    return _drawn(lambda: NormNet(BatchNorm), seed)


def stateless_norm_net(seed: int = 0) -> NormNet:
    """With torch's batch norm, but no running statistics, as ``torch.func`` wants it."""
    return _drawn(
        lambda: NormNet(lambda channels: nn.BatchNorm2d(channels, track_running_stats=False)), seed
    )


def _drawn(make: Callable[[], Net], seed: int) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().double()


def batch(seed: int = 0, *, size: int = 6, side: int = 6) -> tuple[Tensor, Tensor]:
    """Images, shape (size, 3, side, side), and labels."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((size, 3, side, side), generator=generator, dtype=torch.float64)
    return x, torch.randint(NUM_CLASSES, (size,), generator=generator)


def weight_grads(net: nn.Module, x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(W, ∂L/∂W) of every convolution and linear layer, by an ordinary backward pass."""
    net.zero_grad()
    LOSS(net(x), y).backward()
    pairs = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            grad = module.weight.grad
            pairs.append(
                (module.weight.detach(), torch.zeros_like(module.weight) if grad is None else grad)
            )
    net.zero_grad()
    return pairs
