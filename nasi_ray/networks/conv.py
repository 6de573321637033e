"""Convolutions whose derivatives cost what their arithmetic does.

``torch`` has two slow cases on a CPU. Its gradient of a dilated depthwise convolution by the input
takes ten times the forward pass; it is a depthwise convolution too, with kernels turned by 180°,
and is written so here. And a tangent of the input alone costs two convolutions, because the
tangent of the weight is taken to be a tensor of zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.autograd import Function, forward_ad
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from nasi_ray.networks.tape import Slot, next_slot


class SameConv(nn.Conv2d):
    """Convolution without bias, dense or depthwise, that keeps the size of a map at stride 1.

    The derivatives are torch's own, which compilers and exporters know.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd.
        stride: 1 or more.
        dilation: Pixels from one tap of the kernel to the next.
        groups: 1, or the number of channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size - 1) // 2,
            dilation=dilation,
            groups=groups,
            bias=False,
        )


class Conv(SameConv):
    """``SameConv`` with the derivatives above at stride 1; parameters have the same names."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply to x, shape (batch, channels, height, width)."""
        if self.stride != (1, 1):
            return super().forward(x)
        slot = next_slot("convolution", x.shape, self.weight.shape, self.dilation)
        y: Tensor = _Convolve.apply(x, self.weight, self.dilation[0], slot)
        return y


def linear(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """f(x) of a linear f: the tangent is f of the tangent."""
    value, tangent = forward_ad.unpack_dual(x)
    return f(value) if tangent is None else forward_ad.make_dual(f(value), f(tangent))


class _Convolve(Function):
    """(x, weight, dilation, slot) -> convolution at stride 1, of the size of x."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, dilation: int, slot: Slot | None) -> Tensor:
        if slot is None:
            return _convolve(x, weight, dilation)
        known = slot.take_outputs()
        if known:
            return known[0]
        y = _convolve(x, weight, dilation)
        slot.outputs = (y.detach(),)
        return y

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor, int, Slot | None], output: Tensor
    ) -> None:
        x, weight, ctx.dilation, ctx.slot = inputs
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)
        ctx.set_materialize_grads(False)  # a missing tangent is not convolved

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        by_x = by_weight = None
        if grad is not None and ctx.needs_input_grad[0]:
            turned = weight.flip(2, 3)
            turned = turned if weight.shape[1] == 1 < x.shape[1] else turned.transpose(0, 1)
            by_x = _convolve_once(grad, turned, ctx.dilation, ctx.slot)
        if grad is not None and ctx.needs_input_grad[1]:
            padding, groups = _geometry(x, weight, ctx.dilation)
            by_weight = conv2d_weight(
                x, weight.shape, grad, padding=padding, dilation=ctx.dilation, groups=groups
            )
        return by_x, by_weight, None, None

    @staticmethod
    def jvp(ctx: Any, x_dot: Tensor | None, weight_dot: Tensor | None, *_: None) -> Tensor | None:
        x, weight = ctx.saved_tensors
        return _tangent((x, x_dot), (weight, weight_dot), ctx.dilation)


def _convolve_once(x: Tensor, weight: Tensor, dilation: int, slot: Slot | None) -> Tensor:
    """The convolution of dual tensors, whose value is taken from the slot if it is there."""
    known = slot.take_backward() if slot is not None else ()
    if not known:
        y = _convolve(x, weight, dilation)
        if slot is not None:
            slot.backward = (forward_ad.unpack_dual(y).primal.detach(),)
        return y
    y_dot = _tangent(forward_ad.unpack_dual(x), forward_ad.unpack_dual(weight), dilation)
    dual: Tensor = known[0] if y_dot is None else forward_ad.make_dual(known[0], y_dot)
    return dual


def _tangent(
    x: tuple[Tensor, Tensor | None], weight: tuple[Tensor, Tensor | None], dilation: int
) -> Tensor | None:
    """The tangent of a convolution, of values and tangents."""
    by_weight = None if weight[1] is None else _convolve(x[0], weight[1], dilation)
    if x[1] is None:
        return by_weight
    y_dot = _convolve(x[1], weight[0], dilation)
    return y_dot if by_weight is None else y_dot.add_(by_weight)


def _convolve(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    padding, groups = _geometry(x, weight, dilation)
    return F.conv2d(x, weight, padding=padding, dilation=dilation, groups=groups)


def _geometry(x: Tensor, weight: Tensor, dilation: int) -> tuple[int, int]:
    """Padding and groups."""
    return dilation * (weight.shape[2] - 1) // 2, x.shape[1] // weight.shape[1]
