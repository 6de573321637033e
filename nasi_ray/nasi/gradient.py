"""The trace norm e of a sampled architecture and its exact gradient, at the sampled path's cost.

With v = ∇_θ L one has ∇_h e = 2 d/dε ∇_h L(θ0 + εv, h) at ε = 0. v is zero for every operation
that was not chosen, so for a choice point with output x = Σ_j h_j y_j

    ∂e/∂h_j = 2 (⟨δ̇, y_j⟩ + ⟨δ, ẏ_j⟩),    δ = ∂L/∂x,

where a dot is the derivative along v. One forward-over-reverse pass along the sampled path gives
δ and δ̇ at each choice point; there a candidate that was not chosen needs a forward and a tangent
pass, whose activations are not kept, and which stop before a batch norm at its end (see
``nasi_ray.networks.normalized``). ``reference.py`` computes the same by double backward.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call

from nasi_ray.networks.mixture import Applied, Candidate, PathMixer, add
from nasi_ray.networks.normalized import Cotangents, Normalized
from nasi_ray.networks.tape import Tape

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (batch, classes), labels (batch,)) -> mean loss, a scalar."""

Chosen = Callable[[int, int], Sequence[int]]
"""(cell, decision) -> positions of the candidates taken there."""

ChoiceGradients = Mapping[tuple[int, int], Tensor]
"""(cell, decision) -> ∂e/∂h, float64, one entry per candidate."""


def trace_norm(
    net: nn.Module, x: Tensor, y: Tensor, *, loss: Loss, chosen: Chosen
) -> tuple[Tensor, dict[str, Tensor]]:
    """Approximate the NTK trace norm of one sub-network from one batch.

    e = ‖∇_θ L(θ0, h)‖² (NASI, eq. 11-12 without the constants m and 1/γ; see ``ntk.py`` for the
    exact kernel).

    Args:
        net: Supernet, called as ``net(x, mixer)``.
        x: Images, shape (batch, channels, height, width).
        y: Labels, shape (batch,).
        loss: Mean loss over the batch.
        chosen: The architecture.

    Returns:
        e as a float64 scalar (≥ 0, in units of squared loss gradient), and v = ∇_θ L by parameter
        name; parameters off the sampled path are absent (their gradient is zero).
    """
    names, params = zip(*net.named_parameters(), strict=True)
    value = loss(net(x, PathMixer(chosen)), y)
    grads = torch.autograd.grad(value, params, allow_unused=True)
    v = {name: g for name, g in zip(names, grads, strict=True) if g is not None}
    e = torch.stack([g.double().square().sum() for g in v.values()]).sum()
    return e, v


def trace_norm_and_gradient(
    net: nn.Module, x: Tensor, y: Tensor, *, loss: Loss, chosen: Chosen
) -> tuple[Tensor, ChoiceGradients]:
    """Compute e as ``trace_norm`` does, and ∂e/∂h for every candidate, chosen or not.

    Args:
        net: Supernet whose candidates at a choice point share no parameters with one another.
        x: Images, shape (batch, channels, height, width).
        y: Labels, shape (batch,).
        loss: Mean loss over the batch; must support forward-mode differentiation.
        chosen: The architecture.

    Returns:
        e, and its gradient by (cell, decision). Absent are choice points with one candidate, and
        those whose output the sampled path does not use; there the gradient is zero.
    """
    tape = Tape()
    with tape.passing():
        e, v = trace_norm(net, x, y, loss=loss, chosen=chosen)
    params = dict(net.named_parameters())
    measurement = _Measurement(chosen)
    _load_forward_mode()
    with forward_ad.dual_level(), tape.passing():
        duals = {
            name: forward_ad.make_dual(params[name].detach(), tangent)
            for name, tangent in v.items()
        }
        value = loss(functional_call(net, duals, (x, measurement)), y)
        # The hooks that this runs do the work; the leaves' own gradients are not used.
        torch.autograd.grad(value, measurement.leaves, allow_unused=True)
    measurement.leaves.clear()  # their hooks hold the measurement: a cycle that keeps tensors
    return e, measurement.gradients


@cache
def _load_forward_mode() -> None:
    # The first dual tensor makes torch compile some rules with its own deprecated torch.jit.
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
        forward_ad.make_dual(torch.zeros(1), torch.zeros(1))


class _Measurement:
    """Mixer of the dual pass: follows the path, and measures choice points in the backward pass.

    Measuring in a hook, when δ has just been computed, lets the backward pass free activations as
    it goes and never holds more than one candidate's activations beside them.
    """

    def __init__(self, chosen: Chosen) -> None:
        self._chosen = chosen
        self._pending: dict[tuple[int, int], list[Candidate]] = {}
        self.leaves: list[Tensor] = []
        self.gradients: dict[tuple[int, int], Tensor] = {}

    def mix(self, cell: int, decision: int, candidates: Sequence[Candidate]) -> Tensor:
        chosen = self._chosen(cell, decision)
        values = {j: candidates[j]() for j in chosen}
        total = add(*values.values())
        if not torch.is_grad_enabled():
            # A hook evaluates what the path does not use: δ is zero at this choice point.
            return total
        # An alias of its own, so that δ counts what passes through this choice point alone.
        out = total.view_as(total)
        if not out.requires_grad:
            self.leaves.append(out.requires_grad_())
        if len(candidates) > 1:
            self._pending[cell, decision] = [
                partial(values.__getitem__, j) if j in values else candidate
                for j, candidate in enumerate(candidates)
            ]
            out.register_hook(partial(self._measure, cell, decision))
        return out

    def _measure(self, cell: int, decision: int, grad: Tensor) -> None:
        with torch.no_grad():
            cotangents = Cotangents(*forward_ad.unpack_dual(grad))
            rows = [
                _sensitivity(cotangents, candidate)
                for candidate in self._pending.pop((cell, decision))
            ]
        self.gradients[cell, decision] = torch.stack(rows)


def _sensitivity(cotangents: Cotangents, candidate: Candidate) -> Tensor:
    """∂e/∂h_j = 2 (⟨δ̇, y_j⟩ + ⟨δ, ẏ_j⟩) of one candidate, as a float64 scalar."""
    if isinstance(candidate, Applied) and isinstance(candidate.op, Normalized):
        return 2 * cotangents.normalized_products(candidate.op, candidate.x())
    return 2 * cotangents.products(candidate())
