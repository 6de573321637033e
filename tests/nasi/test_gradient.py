from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from torch import Tensor, nn
from torch.nn import functional as F

from nasi_ray.arrays import FloatArray
from nasi_ray.nasi.gradient import trace_norm, trace_norm_and_gradient
from nasi_ray.nasi.reference import trace_norm_and_alpha_gradient
from nasi_ray.networks.initialization import build
from nasi_ray.networks.mixture import Mixer, PathMixer
from tests.nasi.cases import Case, Setting, darts_case, k_hot, weighted_trace_norm
from tests.nasi.toy import toy_case
from tests.strategies import supernet_settings

MAX_POOL: Callable[..., Tensor] = F.max_pool2d


def on_sampled_path(case: Case) -> tuple[float, FloatArray]:
    e, h = trace_norm_and_gradient(
        case.net, case.x, case.y, loss=case.loss, chosen=case.architecture.at
    )
    return float(e), case.architecture.straight_through({at: g.numpy() for at, g in h.items()})


def by_double_backward(case: Case, *, sampled_only: bool = False) -> tuple[float, FloatArray]:
    e, gradient = trace_norm_and_alpha_gradient(
        case.net,
        case.x,
        case.y,
        loss=case.loss,
        architecture=case.architecture,
        sampled_parameters_only=sampled_only,
    )
    return float(e), gradient.numpy()


def channels_last(case: Case) -> Case:
    """The same case with weights and images in the other memory format."""
    net = case.net
    for p in net.parameters():
        if p.dim() == 4:
            p.data = p.data.contiguous(memory_format=torch.channels_last)
    return dataclasses.replace(case, x=case.x.contiguous(memory_format=torch.channels_last))


def assert_agree(one: tuple[float, FloatArray], other: tuple[float, FloatArray]) -> None:
    (e, gradient), (expected_e, expected) = one, other
    assert e == pytest.approx(expected_e, rel=1e-9)
    assert e > 0
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def pooling_gaps(case: Case) -> Tensor:
    """By how much every max pooling of the path prefers the pixel it takes to each other one."""
    gaps = []

    def max_pool(x: Tensor, size: int, *, stride: int | None = None, padding: int = 0) -> Tensor:
        padded = F.pad(x, (padding,) * 4, value=-1e9).flatten(0, 1)[:, None]
        windows = F.unfold(padded, size, stride=stride or size).sort(dim=1, descending=True).values
        gaps.append((windows[:, :1] - windows[:, 1:]).flatten())
        return MAX_POOL(x, size, stride=stride, padding=padding)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(F, "max_pool2d", max_pool)
        case.net(case.x, PathMixer(case.architecture.at))
    return torch.cat(gaps)


def rounding_decides(case: Case) -> bool:
    """Whether rounding chooses which pixel a max pooling of the path takes.

    Pixels that came out of one max pooling are often copies of one pixel, and what follows (an
    average, say) makes them equal up to rounding. Where a later max pooling compares them, e has
    a kink in h: there is one derivative for either pixel, and no right one. Where they are equal
    to the bit both ways of computing take the first.
    """
    gaps = pooling_gaps(case)
    return bool(((gaps > 0) & (gaps < 1e-9)).any())


def has_kink(case: Case) -> bool:
    """Whether a max pooling of the path has a choice of equal pixels, e.g. rectified ones."""
    return bool((pooling_gaps(case) < 1e-7).any())


@settings(max_examples=8)
@given(setting=supernet_settings())
@example(setting=Setting(sample_per="cell", image_size=9, num_cells=6))
@example(setting=Setting(loss="mse", image_size=11, init_channels=1))
def test_gradient_on_the_sampled_path_is_that_of_double_backward(setting: Setting) -> None:
    case = darts_case(setting)
    assume(not rounding_decides(case))
    found = on_sampled_path(case)
    assert_agree(found, by_double_backward(case))
    assert_agree(found, by_double_backward(case, sampled_only=True))


@settings(max_examples=6)
@given(setting=supernet_settings())
def test_memory_format_does_not_matter(setting: Setting) -> None:
    case = darts_case(setting)
    assume(not rounding_decides(case))
    found = on_sampled_path(case)
    other = channels_last(case)
    assume(not rounding_decides(other))
    assert_agree(on_sampled_path(other), found)


@settings(max_examples=8)
@given(setting=supernet_settings())
def test_gradient_of_every_choice_point_is_that_of_double_backward(setting: Setting) -> None:
    # Before the softmax, whose small probabilities could hide an error.
    case = darts_case(setting)
    assume(not rounding_decides(case))
    weights = k_hot(case)
    e = weighted_trace_norm(case, weights)
    expected = dict(zip(weights, torch.autograd.grad(e, list(weights.values())), strict=True))
    found_e, found = trace_norm_and_gradient(
        case.net, case.x, case.y, loss=case.loss, chosen=case.architecture.at
    )
    torch.testing.assert_close(found_e, e.detach(), rtol=1e-9, atol=0)
    scale = max(float(g.abs().max()) for g in expected.values())
    assert found.keys() <= expected.keys()
    for at, g in expected.items():
        if at in found:
            torch.testing.assert_close(found[at], g, rtol=1e-9, atol=1e-9 * scale)
        else:  # a cell that no later one takes as input
            assert not g.any()


@pytest.mark.parametrize("sample_per", ["step", "cell"])
def test_candidates_that_were_not_chosen_have_a_gradient(sample_per: str) -> None:
    _, gradient = on_sampled_path(darts_case(Setting(sample_per=sample_per)))
    assert gradient.shape == (84,)
    assert np.count_nonzero(gradient) == 84


def without_kinks() -> Case:
    """A case in which e is differentiable in h."""
    for seed in range(100):
        case = darts_case(Setting(image_size=12, sample_per="cell", seed=seed))
        if not has_kink(case):
            return case
    raise AssertionError("no such case among 100")


Weights = Mapping[tuple[int, int], Tensor]


def assert_is_slope(case: Case, gradient: Weights, directions: Sequence[Weights]) -> None:
    """Compare a gradient by h with central differences of e along directions of h."""
    weights = {at: h.detach() for at, h in k_hot(case).items()}
    step = 1e-6
    scale = max(float(g.abs().max()) for g in gradient.values())
    for direction in directions:
        sides = []
        for sign in (1, -1):
            moved = {at: h + sign * step * direction[at] for at, h in weights.items()}
            sides.append(float(weighted_trace_norm(case, moved)))
        slope = (sides[0] - sides[1]) / (2 * step)
        expected = sum(float(g @ direction[at]) for at, g in gradient.items())
        assert expected == pytest.approx(slope, rel=1e-6, abs=1e-7 * scale)


@pytest.mark.parametrize(("seed", "loss"), [(0, "mse"), (1, "cross-entropy")])
def test_gradient_is_the_slope_of_the_trace_norm_along_every_h(seed: int, loss: str) -> None:
    case = toy_case(seed, loss=loss)
    _, found = trace_norm_and_gradient(
        case.net, case.x, case.y, loss=case.loss, chosen=case.architecture.at
    )
    zeros = {at: torch.zeros_like(h) for at, h in k_hot(case).items()}
    units = [{**zeros, at: row} for at in found for row in torch.eye(len(found[at])).double()]
    assert_is_slope(case, found, units)


def test_gradient_is_the_slope_of_the_trace_norm_of_a_darts_network() -> None:
    case = without_kinks()
    _, found = trace_norm_and_gradient(
        case.net, case.x, case.y, loss=case.loss, chosen=case.architecture.at
    )
    rng = np.random.default_rng(0)
    assert_is_slope(
        case,
        found,
        [
            {at: torch.from_numpy(rng.standard_normal(len(h))) for at, h in k_hot(case).items()}
            for _ in range(8)
        ],
    )


@pytest.mark.parametrize("sample_per", ["step", "cell"])
@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
@pytest.mark.parametrize("seed", range(3))
def test_several_candidates_chosen_at_once(sample_per: str, loss: str, seed: int) -> None:
    case = toy_case(seed, sample_per=sample_per, loss=loss)
    assert len(case.architecture.at(0, 0)) == 2
    found = on_sampled_path(case)
    assert_agree(found, by_double_backward(case))
    assert_agree(found, by_double_backward(case, sampled_only=True))


def test_choice_points_without_alternatives_have_no_gradient() -> None:
    case = toy_case(0)
    _, h = trace_norm_and_gradient(
        case.net, case.x, case.y, loss=case.loss, chosen=case.architecture.at
    )
    assert sorted(h) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert {g.dtype for g in h.values()} == {torch.float64}


@pytest.mark.parametrize("sample_per", ["step", "cell"])
def test_trace_norm_of_the_path_is_that_of_the_one_hot_network(sample_per: str) -> None:
    case = darts_case(Setting(sample_per=sample_per, num_cells=4))
    e, _ = trace_norm(case.net, case.x, case.y, loss=case.loss, chosen=case.architecture.at)
    torch.testing.assert_close(
        e, weighted_trace_norm(case, k_hot(case)).detach(), rtol=1e-12, atol=0
    )


def test_trace_norm_is_the_squared_norm_of_the_loss_gradient() -> None:
    case = darts_case(Setting())
    e, v = trace_norm(case.net, case.x, case.y, loss=case.loss, chosen=case.architecture.at)
    case.loss(case.net(case.x, PathMixer(case.architecture.at)), case.y).backward()
    grads = {name: p.grad for name, p in case.net.named_parameters() if p.grad is not None}
    assert v.keys() == grads.keys()
    assert float(e) == pytest.approx(sum(float((g**2).sum()) for g in grads.values()), rel=1e-12)


def test_float32_is_close_to_float64() -> None:
    case = without_kinks()
    e, gradient = on_sampled_path(case)
    single = dataclasses.replace(case, net=case.net.float(), x=case.x.float())
    single_e, single_gradient = on_sampled_path(single)
    assert single_e == pytest.approx(e, rel=1e-4)
    error = np.linalg.norm(single_gradient - gradient) / np.linalg.norm(gradient)
    assert 0 < error < 1e-3


def test_nothing_is_left_behind_in_the_network() -> None:
    case = darts_case(Setting())
    first = on_sampled_path(case)
    assert all(p.grad is None and p.requires_grad for p in case.net.parameters())
    e, gradient = on_sampled_path(case)
    assert e == first[0]
    np.testing.assert_array_equal(gradient, first[1])


class _OneCell(nn.Module):
    """A choice point at the images themselves: nothing before it depends on θ."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(2))

    def forward(self, x: Tensor, mixer: Mixer) -> Tensor:
        x = mixer.mix(0, 0, [partial(torch.mul, x, 3.0), partial(torch.mul, x, 2.0)])
        x = mixer.mix(0, 1, [partial(conv, x) for conv in self.convs])
        return x.mean(dim=(2, 3))


def test_choice_points_before_every_parameter() -> None:
    case = toy_case(0)
    net = build(_OneCell, seed=0, dtype=torch.float64)
    taken = {0: (1,), 1: (0,)}
    _, found = trace_norm_and_gradient(
        net, case.x, case.y, loss=case.loss, chosen=lambda cell, d: taken[d]
    )
    weights = {
        (0, 0): torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True),
        (0, 1): torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True),
    }
    e = weighted_trace_norm(dataclasses.replace(case, net=net), weights)
    for at, gradient in zip(weights, torch.autograd.grad(e, list(weights.values())), strict=True):
        torch.testing.assert_close(found[at], gradient, rtol=1e-10, atol=1e-12)


class _Blocks(nn.Module):
    """Two blocks of which the output takes one; the first has no parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 1)
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, k, padding=k // 2) for k in (1, 3))

    def forward(self, x: Tensor, mixer: Mixer) -> Tensor:
        x = torch.tanh(self.stem(x))
        first = mixer.mix(0, 0, [partial(torch.mul, x, 2.0), partial(torch.mul, x, 3.0)])
        second = mixer.mix(0, 1, [partial(conv, x) for conv in self.convs])
        x = mixer.mix(0, 2, [partial(torch.tanh, first), partial(torch.sin, second)])
        return x.mean(dim=(2, 3))


@pytest.mark.parametrize("block", [0, 1])
def test_choice_points_off_the_path_have_no_gradient(block: int) -> None:
    case = dataclasses.replace(toy_case(0), net=build(_Blocks, seed=0, dtype=torch.float64))
    taken = {0: (1,), 1: (0,), 2: (block,)}
    _, found = trace_norm_and_gradient(
        case.net, case.x, case.y, loss=case.loss, chosen=lambda cell, d: taken[d]
    )
    weights = {
        (0, d): torch.eye(2, dtype=torch.float64)[j].requires_grad_() for d, (j,) in taken.items()
    }
    e = weighted_trace_norm(case, weights)
    expected = dict(zip(weights, torch.autograd.grad(e, list(weights.values())), strict=True))
    assert sorted(found) == [(0, block), (0, 2)]
    for at, g in found.items():
        torch.testing.assert_close(g, expected[at], rtol=1e-10, atol=1e-12)
    assert not expected[0, 1 - block].any()
