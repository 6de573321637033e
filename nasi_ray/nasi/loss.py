"""The losses whose gradient norm is measured: mean over the batch, by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy with softmax of logits (batch, classes) and labels (batch,)."""
    return F.cross_entropy(logits, labels)


def mse(logits: Tensor, labels: Tensor) -> Tensor:
    """m⁻¹ Σ ‖f(x) − onehot(y)‖² of outputs (batch, classes) and labels (batch,) (Sec. 2.2).

    The sum runs over the classes and the mean over the batch, as in the paper; ``torch``'s MSE
    divides by the number of classes too.
    """
    target = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return (logits - target).square().sum(dim=1).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": cross_entropy,
    "mse": mse,
}
"""Name -> loss."""
