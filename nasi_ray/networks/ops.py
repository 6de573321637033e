"""The primitive operations of DARTS cells, by name.

While searching (``OPS``), strides are 1, batch norm has no affine parameters and no running
statistics, and pooling is followed by batch norm, as in DARTS's own one-shot network. In networks
for training (``final_op``), operations may have stride 2, convolution and batch norm are torch's
own, and pooling has no batch norm. Convolutions take an input that has already been rectified
(``rectified = True``), so that a node rectifies its input only once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from nasi_ray.networks.batch_norm import BatchNorm
from nasi_ray.networks.conv import Conv, SameConv, linear
from nasi_ray.networks.normalized import Normalized
from nasi_ray.spaces.final_network import SEPARABLE

Norm = Callable[[int], nn.Module]
"""Number of channels -> a batch norm."""


def plain_norm(channels: int) -> BatchNorm:
    """Batch norm while searching: no affine parameters."""
    return BatchNorm(channels, affine=False)


class Identity(nn.Module):
    """Passes its input through."""

    rectified = False

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``."""
        return x


class Pool(Normalized):
    """3x3 pooling at stride 1, then batch norm."""

    rectified = False

    def __init__(self, pool: Callable[[Tensor], Tensor], channels: int) -> None:
        super().__init__()
        self._pool = pool
        self.norm = BatchNorm(channels, affine=False)

    def split(self, x: Tensor) -> tuple[Tensor, nn.Module]:
        """Pool; the batch norm is left."""
        return self._pool(x), self.norm


class SeparableConv(Normalized):
    """Depthwise and 1x1 convolution and batch norm, once (dilated) or twice (separable)."""

    rectified = True

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        *,
        dilation: int,
        repeats: int,
        stride: int = 1,
        norm: Norm,
        conv: type[SameConv],
    ) -> None:
        super().__init__()
        self.depthwise = nn.ModuleList(
            conv(
                channels,
                channels,
                kernel_size,
                stride=1 if i else stride,
                dilation=dilation,
                groups=channels,
            )
            for i in range(repeats)
        )
        self.pointwise = nn.ModuleList(conv(channels, channels, 1) for _ in range(repeats))
        self.norms = nn.ModuleList(norm(channels) for _ in range(repeats))

    def split(self, x: Tensor) -> tuple[Tensor, nn.Module]:
        """Apply to a rectified ``x``; the last batch norm is left."""
        for i, (depthwise, pointwise) in enumerate(
            zip(self.depthwise, self.pointwise, strict=True)
        ):
            x = pointwise(depthwise(F.relu(self.norms[i - 1](x)) if i else x))
        return x, self.norms[-1]


class FactorizedConv(nn.Module):
    """1x7 and 7x1 convolution, and batch norm."""

    rectified = True

    def __init__(self, channels: int, *, stride: int = 1, norm: Norm) -> None:
        super().__init__()
        self.row = nn.Conv2d(
            channels, channels, (1, 7), stride=(1, stride), padding=(0, 3), bias=False
        )
        self.column = nn.Conv2d(
            channels, channels, (7, 1), stride=(stride, 1), padding=(3, 0), bias=False
        )
        self.norm = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to a rectified ``x``."""
        y: Tensor = self.norm(self.column(self.row(x)))
        return y


class FactorizedReduce(nn.Module):
    """Halves a map: 1x1 convolutions of stride 2 on its even and on its odd pixels, batch norm."""

    rectified = True

    def __init__(self, in_channels: int, out_channels: int, *, norm: Norm) -> None:
        super().__init__()
        half = out_channels // 2
        self.even = nn.Conv2d(in_channels, half, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(in_channels, out_channels - half, 1, stride=2, bias=False)
        self.norm = norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to a rectified ``x``."""
        height, width = x.shape[2:]
        # The last odd row and column of a map of odd size are outside it.
        shifted = F.pad(x, (0, width % 2, 0, height % 2))[:, :, 1:, 1:]
        y: Tensor = self.norm(torch.cat([self.even(x), self.odd(shifted)], dim=1))
        return y


class Zero(nn.Module):
    """*none*: zeros."""

    rectified = False

    def __init__(self, stride: int) -> None:
        super().__init__()
        self._stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Zeros in the shape of an operation's output."""
        # A product, so that what x was computed from has gradients (zero), as distributed
        # training demands of every parameter.
        return x[:, :, :: self._stride, :: self._stride] * 0.0


class ConvNorm(nn.Module):
    """Convolution and batch norm, optionally after a ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        rectify: bool,
        stride: int = 1,
        norm: Norm,
        conv: type[SameConv],
    ) -> None:
        super().__init__()
        self._rectify = rectify
        self.conv = conv(in_channels, out_channels, kernel_size, stride=stride)
        self.norm = norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        y: Tensor = self.norm(self.conv(F.relu(x) if self._rectify else x))
        return y


plain_conv_norm = partial(ConvNorm, norm=plain_norm, conv=Conv)
"""``ConvNorm`` while searching."""


class NodeStates:
    """Outputs of a cell's nodes, of which each is rectified at most once."""

    def __init__(self, inputs: Iterable[Tensor]) -> None:
        self.values = list(inputs)
        self._rectified: dict[int, Tensor] = {}

    def apply(self, op: nn.Module, source: int) -> Tensor:
        """An operation on the output of a node."""
        if not isinstance(op, SeparableConv | FactorizedConv | FactorizedReduce):
            y: Tensor = op(self.values[source])
            return y
        if source not in self._rectified:
            self._rectified[source] = F.relu(self.values[source])
        y = op(self._rectified[source])
        return y


def max_pool_3x3(x: Tensor) -> Tensor:
    """3x3 max pooling, stride 1; of equal pixels the first passes its tangent on."""
    value, tangent = forward_ad.unpack_dual(x)
    if tangent is None or x.is_cuda or torch.is_grad_enabled():
        return F.max_pool2d(x, 3, stride=1, padding=1)
    # torch keeps indices, and gathers tangents by them: on a CPU that takes twice as long.
    for dim in (3, 2):
        value, tangent = _largest_of_three(value, tangent, dim)
    y: Tensor = forward_ad.make_dual(value, tangent)
    return y


def _largest_of_three(x: Tensor, x_dot: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The largest of a pixel and its neighbours along a dimension, and the first such's tangent."""
    y, y_dot, size = x.clone(), x_dot.clone(), x.shape[dim] - 1
    for at, neighbour, larger in ((1, 0, torch.ge), (0, 1, torch.gt)):
        here, there = y.narrow(dim, at, size), x.narrow(dim, neighbour, size)
        taken = larger(there, here, out=torch.empty_like(here))
        tangent = y_dot.narrow(dim, at, size)
        torch.lerp(tangent, x_dot.narrow(dim, neighbour, size), taken, out=tangent)
        torch.maximum(here, there, out=here)
    return y, y_dot


def avg_pool_3x3(x: Tensor) -> Tensor:
    """3x3 average pooling, stride 1; padding does not count, as in DARTS.

    A depthwise convolution with ones: six times faster than ``F.avg_pool2d`` on channels-last
    tensors on a CPU.
    """
    window = x.new_ones((x.shape[1], 1, 3, 3))
    counts = F.conv2d(x.new_ones((1, 1, *x.shape[2:])), window[:1], padding=1)
    return linear(lambda t: F.conv2d(t, window, padding=1, groups=t.shape[1]) / counts, x)


def _separable(name: str) -> Callable[..., nn.Module]:
    kernel_size, dilation, repeats = SEPARABLE[name]
    return partial(SeparableConv, kernel_size=kernel_size, dilation=dilation, repeats=repeats)


OPS: dict[str, Callable[[int], nn.Module]] = {
    "max_pool_3x3": partial(Pool, max_pool_3x3),
    "avg_pool_3x3": partial(Pool, avg_pool_3x3),
    "skip_connect": lambda channels: Identity(),
    "conv_7x1_1x7": partial(FactorizedConv, norm=plain_norm),
    **{name: partial(_separable(name), norm=plain_norm, conv=Conv) for name in SEPARABLE},
}
"""Operation name -> constructor taking the number of channels; all but *none*."""


def final_op(name: str, channels: int, stride: int) -> nn.Module:
    """An operation of a network for training.

    Args:
        name: One of ``GENOTYPE_OPS``.
        channels: Of its input and output.
        stride: 1 or 2.
    """
    if name == "none":
        return Zero(stride)
    if name == "skip_connect":
        if stride == 1:
            return Identity()
        return FactorizedReduce(channels, channels, norm=nn.BatchNorm2d)
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride=stride, padding=1)
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=False)
    if name == "conv_7x1_1x7":
        return FactorizedConv(channels, stride=stride, norm=nn.BatchNorm2d)
    return _separable(name)(channels, stride=stride, norm=nn.BatchNorm2d, conv=SameConv)
