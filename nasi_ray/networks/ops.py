"""The primitive operations of the DARTS space, with stride 1, and a dict name -> constructor.

While searching, batch norm has no affine parameters and no running statistics, and pooling is
followed by batch norm, as in DARTS's own one-shot network. Convolutions take an input that has
already been rectified (``rectified = True``), so that a node rectifies its input only once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from nasi_ray.networks.batch_norm import BatchNorm
from nasi_ray.networks.conv import Conv, linear
from nasi_ray.networks.normalized import Normalized


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

    def __init__(self, channels: int, kernel_size: int, *, dilation: int, repeats: int) -> None:
        super().__init__()
        self.depthwise = nn.ModuleList(
            Conv(channels, channels, kernel_size, dilation=dilation, groups=channels)
            for _ in range(repeats)
        )
        self.pointwise = nn.ModuleList(Conv(channels, channels, 1) for _ in range(repeats))
        self.norms = nn.ModuleList(BatchNorm(channels, affine=False) for _ in range(repeats))

    def split(self, x: Tensor) -> tuple[Tensor, nn.Module]:
        """Apply to a rectified ``x``; the last batch norm is left."""
        for i, (depthwise, pointwise) in enumerate(
            zip(self.depthwise, self.pointwise, strict=True)
        ):
            x = pointwise(depthwise(F.relu(self.norms[i - 1](x)) if i else x))
        return x, self.norms[-1]


class ConvNorm(nn.Module):
    """Convolution and batch norm, optionally after a ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, rectify: bool
    ) -> None:
        super().__init__()
        self._rectify = rectify
        self.conv = Conv(in_channels, out_channels, kernel_size)
        self.norm = BatchNorm(out_channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        y: Tensor = self.norm(self.conv(F.relu(x) if self._rectify else x))
        return y


def max_pool_3x3(x: Tensor) -> Tensor:
    """3x3 max pooling, stride 1."""
    return F.max_pool2d(x, 3, stride=1, padding=1)


def avg_pool_3x3(x: Tensor) -> Tensor:
    """3x3 average pooling, stride 1; padding does not count, as in DARTS.

    A depthwise convolution with ones: six times faster than ``F.avg_pool2d`` on channels-last
    tensors on a CPU.
    """
    window = x.new_ones((x.shape[1], 1, 3, 3))
    counts = F.conv2d(x.new_ones((1, 1, *x.shape[2:])), window[:1], padding=1)
    return linear(lambda t: F.conv2d(t, window, padding=1, groups=t.shape[1]) / counts, x)


OPS: dict[str, Callable[[int], nn.Module]] = {
    "max_pool_3x3": partial(Pool, max_pool_3x3),
    "avg_pool_3x3": partial(Pool, avg_pool_3x3),
    "skip_connect": lambda channels: Identity(),
    "sep_conv_3x3": lambda channels: SeparableConv(channels, 3, dilation=1, repeats=2),
    "sep_conv_5x5": lambda channels: SeparableConv(channels, 5, dilation=1, repeats=2),
    "dil_conv_3x3": lambda channels: SeparableConv(channels, 3, dilation=2, repeats=1),
    "dil_conv_5x5": lambda channels: SeparableConv(channels, 5, dilation=2, repeats=1),
}
"""Operation name -> constructor taking the number of channels."""
