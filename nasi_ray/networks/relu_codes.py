"""The binary code of a batch: which ReLUs are on (Mellor et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def relu_codes(outputs: Tensor) -> list[Tensor]:
    """The codes of the ReLUs that lead to outputs, whether modules or function calls.

    Args:
        outputs: With their autograd graph.

    Returns:
        Of each ReLU: which units are on, shape (batch, units).
    """
    seen, codes = set(), []
    stack = [outputs.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() == "ReluBackward0":
            kept: Tensor = node._saved_result  # type: ignore[attr-defined]  # as autograd's manual says
            codes.append((kept.detach() > 0).flatten(start_dim=1))
        stack.extend(before for before, _ in node.next_functions)
    return codes


def code_kernel(codes: Sequence[Tensor]) -> Tensor:
    """K_H[i, j] = N_A − d_H(c_i, c_j): units in which images i and j agree.

    Args:
        codes: Of each ReLU: which units are on, shape (batch, units), at least one.

    Returns:
        shape (batch, batch), float64, exact.
    """
    kernel = torch.zeros(
        (len(codes[0]), len(codes[0])), dtype=torch.float64, device=codes[0].device
    )
    for code in codes:
        # Of n units, n − d are equal and d differ, and ⟨s_i, s_j⟩ = n − 2d. float32 counts
        # exactly up to 2²⁴.
        kind = torch.float32 if code.shape[1] < 1 << 24 else torch.float64
        signs = code.to(kind).mul_(2).sub_(1)
        kernel += (signs.shape[1] + (signs @ signs.T).double()) / 2
    return kernel


def log_determinant(kernel: Tensor) -> float | None:
    """Log |det K| of a positive semi-definite K, shape (n, n); None if it is singular."""
    eigenvalues = torch.linalg.eigvalsh(kernel)
    if eigenvalues[0] <= len(kernel) * torch.finfo(torch.float64).eps * eigenvalues[-1]:
        return None
    return float(eigenvalues.log().sum())
