from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from nasi_ray.nasi.gradient import trace_norm
from nasi_ray.nasi.loss import LOSSES
from nasi_ray.networks.mixture import PathMixer
from tests.nasi.cases import NUM_CLASSES, Case, Setting, darts_case
from tests.nasi.exact_ntk import jacobian, ntk, ntk_trace
from tests.nasi.toy import toy_case

NETWORKS = [
    pytest.param(partial(darts_case, Setting(init_channels=1)), id="darts"),
    pytest.param(partial(toy_case, 0), id="toy"),
]


def jacobian_of(case: Case, x: Tensor) -> Tensor:
    mixer = PathMixer(case.architecture.at)
    return jacobian(case.net, x, lambda images: (images, mixer))


def by_backward(case: Case) -> Tensor:
    """∇_θ f(X), row by row with ordinary backward passes."""
    outputs = case.net(case.x, PathMixer(case.architecture.at)).flatten()
    params = list(case.net.parameters())
    rows = []
    for output in outputs:
        grads = torch.autograd.grad(
            output, params, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        rows.append(torch.cat([g.flatten() for g in grads]))
    return torch.stack(rows)


@pytest.mark.parametrize("make", NETWORKS)
def test_jacobian_is_that_of_ordinary_backward_passes(make: Callable[[], Case]) -> None:
    case = make()
    torch.testing.assert_close(jacobian_of(case, case.x), by_backward(case), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("make", NETWORKS)
def test_trace_is_the_sum_of_the_eigenvalues(make: Callable[[], Case]) -> None:
    # Eq. 9. With batch norm f is the map from θ to the outputs of the whole batch.
    case = make()
    jac = jacobian_of(case, case.x)
    kernel = ntk(jac)
    eigenvalues = torch.linalg.eigvalsh(kernel)
    assert kernel.shape == (len(case.x) * NUM_CLASSES,) * 2
    torch.testing.assert_close(kernel, kernel.T, rtol=1e-12, atol=0)
    assert float(eigenvalues.min()) > -1e-10 * float(eigenvalues.max())
    torch.testing.assert_close(ntk_trace(jac), eigenvalues.sum(), rtol=1e-10, atol=0)
    torch.testing.assert_close(ntk_trace(jac), torch.linalg.norm(jac) ** 2, rtol=1e-12, atol=0)
    torch.testing.assert_close(ntk_trace(jac), kernel.trace(), rtol=1e-12, atol=0)


# Eq. 10 and 11 speak of one example at a time, so they are shown on a network without batch norm.


def test_trace_is_the_sum_over_the_examples() -> None:
    case = toy_case(0)
    alone = [ntk_trace(jacobian_of(case, x[None])) for x in case.x]
    torch.testing.assert_close(
        ntk_trace(jacobian_of(case, case.x)), torch.stack(alone).sum(), rtol=1e-10, atol=0
    )


def norm_of_loss_gradient(case: Case, examples: slice) -> Tensor:
    """‖∇_θ of the mean loss over some examples‖₂, as the search measures it."""
    e, _ = trace_norm(
        case.net, case.x[examples], case.y[examples], loss=case.loss, chosen=case.architecture.at
    )
    return e.sqrt()


def lipschitz(case: Case) -> Tensor:
    """γ = max over x of ‖∇_f L_x‖₂: the smallest that eq. 10 asks for."""
    outputs = case.net(case.x, PathMixer(case.architecture.at)).detach().requires_grad_()
    each = sum(
        (case.loss(f[None], y[None]) for f, y in zip(outputs, case.y, strict=True)),
        torch.zeros((), dtype=torch.float64),
    )
    (slopes,) = torch.autograd.grad(each, [outputs])
    gamma: Tensor = torch.linalg.norm(slopes, dim=1).max()
    return gamma


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("seed", range(4))
def test_loss_gradient_of_an_example_is_bounded_by_its_jacobian(loss: str, seed: int) -> None:
    case = toy_case(seed, loss=loss)
    gamma = lipschitz(case)
    for i in range(len(case.x)):
        bound = torch.linalg.norm(jacobian_of(case, case.x[i : i + 1]))
        assert 0 < norm_of_loss_gradient(case, slice(i, i + 1)) / gamma <= bound


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("batch_size", [1, 2, 3, 6])
def test_trace_bounds_the_mean_over_batches_of_the_measure(loss: str, batch_size: int) -> None:
    # Eq. 11 with γ⁻², which is what squaring eq. 10 gives; the paper writes γ⁻¹.
    case = toy_case(1, loss=loss)
    gamma = lipschitz(case)
    each = torch.stack(
        [norm_of_loss_gradient(case, slice(i, i + 1)) ** 2 for i in range(len(case.x))]
    ).sum()
    batches = torch.stack(
        [
            norm_of_loss_gradient(case, slice(start, start + batch_size)) ** 2
            for start in range(0, len(case.x), batch_size)
        ]
    ).sum()
    trace = ntk_trace(jacobian_of(case, case.x))
    jensen = batch_size * batches / gamma**2
    slack = 1 + 1e-12
    assert 0 < jensen <= each / gamma**2 * slack
    assert each / gamma**2 <= trace * slack
