"""Operations that end in batch norm, and the inner products of their outputs in closed form.

The exact gradient needs ⟨δ̇, y⟩ + ⟨δ, ẏ⟩ of outputs y that nothing else uses. For y = norm(z) and
n = batch · pixels, the sum over the pixels of one channel is

    n r (cov(z, δ̇) + cov(ż, δ) − r² cov(z, ż) cov(z, δ)),    r = 1/√(var(z) + ε)

so that neither y nor ẏ is computed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from nasi_ray.networks.batch_norm import EPSILON, BatchNorm


class Normalized(nn.Module, ABC):
    """An operation that ends in batch norm."""

    @abstractmethod
    def split(self, x: Tensor) -> tuple[Tensor, nn.Module]:
        """Evaluate all but the batch norm; return the result and the batch norm."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        z, norm = self.split(x)
        y: Tensor = norm(z)
        return y


class Cotangents:
    """δ and δ̇ at a choice point, shape (batch, channels, height, width); None stands for zeros."""

    def __init__(self, delta: Tensor, delta_dot: Tensor | None) -> None:
        self._delta = _Columns(delta)
        self._delta_dot = _Columns(torch.zeros_like(delta) if delta_dot is None else delta_dot)

    def products(self, y: Tensor) -> Tensor:
        """⟨δ̇, y⟩ + ⟨δ, ẏ⟩ of a dual tensor, as a float64 scalar."""
        y, y_dot = forward_ad.unpack_dual(y)
        result = self._delta_dot.dot(y)
        return result if y_dot is None else result + self._delta.dot(y_dot)

    def normalized_products(self, op: Normalized, x: Tensor) -> Tensor:
        """``products(op(x))`` of an operation whose parameters have no tangents."""
        dual, norm = op.split(x)
        if not isinstance(norm, BatchNorm):
            return self.products(norm(dual))
        value, tangent = forward_ad.unpack_dual(dual)
        z = _Columns(value)
        z_dot = _Columns(torch.zeros_like(value) if tangent is None else tangent)
        delta, delta_dot = self._delta, self._delta_dot
        variance, first, second, along, across = _covariances(
            (z, z), (z, delta_dot), (z_dot, delta), (z, z_dot), (z, delta)
        )
        r2 = (variance + EPSILON).reciprocal()
        total: Tensor = len(z.rows) * r2.sqrt() * (first + second - r2 * along * across)
        if norm.weight is None or norm.bias is None:
            return total.sum()
        return norm.weight.double() @ total + norm.bias.double() @ delta_dot.sums


class _Columns:
    """A tensor (batch, channels, height, width) as a matrix with a row for every pixel."""

    def __init__(self, x: Tensor) -> None:
        self.rows = _rows(x).contiguous()
        self.sums = self.rows.sum(0).double()

    def dot(self, x: Tensor) -> Tensor:
        """Inner product with a tensor of the same shape, float64."""
        return torch.dot(self.rows.flatten(), _rows(x).flatten()).double()

    def channel_dots(self, other: _Columns) -> Tensor:
        """Inner product of each channel with the same channel of another."""
        return (self.rows * other.rows).sum(0)


def _covariances(*pairs: tuple[_Columns, _Columns]) -> Tensor:
    """Covariance by channel of each pair, float64, shape (pairs, channels)."""
    num_rows = len(pairs[0][0].rows)
    products = torch.stack([a.channel_dots(b) for a, b in pairs]).double()
    sums = torch.stack([a.sums for a, _ in pairs]) * torch.stack([b.sums for _, b in pairs])
    return (products - sums / num_rows) / num_rows


def _rows(x: Tensor) -> Tensor:
    """Shape (batch · height · width, channels); a view of tensors that are channels-last."""
    return x.movedim(1, -1).flatten(0, 2)
