"""What holds for every proxy."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nasi_ray.errors import ConfigError, ProxyFailedError, UnknownNameError
from nasi_ray.networks.by_space import make_standalone
from nasi_ray.networks.initialization import build
from nasi_ray.proxies import PROXIES, get_proxy
from nasi_ray.proxies.base import Proxy
from nasi_ray.spaces.nb1shot1 import S1
from nasi_ray.spaces.nb201 import NB201, NB201Architecture
from tests.proxies.nets import LOSS, batch, norm_net, plain_net

BASELINES = {"num_params", "multiply_adds"}
WITHOUT_DATA = BASELINES | {"synflow", "zen"}
LABELLED = {"trace_norm", "grad_norm", "snip", "grasp", "fisher", "zico"}
IN_MICRO_BATCHES = LABELLED | {"jacob_cov", "naswot"}

every_proxy = pytest.mark.parametrize("proxy", list(map(get_proxy, PROXIES)), ids=list(PROXIES))
every_network = pytest.mark.parametrize("make", [plain_net, norm_net])


def well_posed_batch() -> tuple[Tensor, Tensor]:
    """With which no kernel is singular."""
    return batch(size=4, side=12)


def test_records_are_complete() -> None:
    assert len(PROXIES) == 14
    assert {name for name in PROXIES if get_proxy(name).needs_labels} == LABELLED
    assert {name for name in PROXIES if not get_proxy(name).higher_is_better} == {"ntk_condition"}
    for name in PROXIES:
        proxy = get_proxy(name)
        assert proxy.name == name
        assert get_proxy(name) is proxy
        assert proxy.paper
        assert 2019 <= proxy.year <= 2023
        assert "\n" not in proxy.description
        assert pickle.loads(pickle.dumps(proxy)) == proxy


def test_unknown_proxy_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown proxy 'snap'; choose one of .*snip"):
        get_proxy("snap")


def state_of(net: nn.Module) -> dict[str, object]:
    return {
        "tensors": {name: value.clone() for name, value in net.state_dict().items()},
        "identities": [id(p) for p in net.parameters()],
        "modes": [module.training for module in net.modules()],
        "types": [(p.dtype, p.requires_grad) for p in net.parameters()],
        "hooks": [
            len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules()
        ],
        "forwards": ["forward" in vars(module) for module in net.modules()],
    }


def assert_same_state(before: dict[str, object], after: dict[str, object]) -> None:
    torch.testing.assert_close(before.pop("tensors"), after.pop("tensors"), rtol=0, atol=0)
    assert before == after


@every_network
@every_proxy
def test_network_is_left_as_it_was(proxy: Proxy, make: Callable[[], nn.Module]) -> None:
    net = make()
    net.get_submodule("classifier").eval()
    next(net.parameters()).requires_grad_(False)
    before = state_of(net)
    proxy.score(net, *well_posed_batch(), loss=LOSS)
    assert_same_state(before, state_of(net))
    assert all(p.grad is None for p in net.parameters())


@every_proxy
def test_network_is_left_as_it_was_by_a_failure(proxy: Proxy) -> None:
    def refuse(logits: Tensor, labels: Tensor) -> Tensor:
        raise ZeroDivisionError

    net, (x, y) = norm_net(), batch()
    before = state_of(net)
    if proxy.needs_labels:
        with pytest.raises(ZeroDivisionError):
            proxy.score(net, x, y, loss=refuse)
    elif proxy.name not in WITHOUT_DATA:
        with pytest.raises(ProxyFailedError):
            proxy.score(net, torch.full_like(x, math.nan), y, loss=refuse)
    assert_same_state(before, state_of(net))
    assert all(p.grad is None for p in net.parameters())


@every_proxy
def test_gradients_there_before_stay(proxy: Proxy) -> None:
    net, (x, y) = plain_net(), well_posed_batch()
    LOSS(net(x), y).backward()
    before = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
    score = proxy.score(net, x, y, loss=LOSS)
    assert score == proxy.score(plain_net(), x, y, loss=LOSS)
    for p, grad in zip(net.parameters(), before, strict=True):
        assert (p.grad is None) == (grad is None)
        assert p.grad is None or grad is None or torch.equal(p.grad, grad)


@every_network
@every_proxy
def test_score_is_the_same_again_whatever_the_global_generator(
    proxy: Proxy, make: Callable[[], nn.Module]
) -> None:
    x, y = well_posed_batch()
    x_before, net = x.clone(), make()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = proxy.score(net, x, y, loss=LOSS)
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(2)
        assert proxy.score(net, x, y, loss=LOSS) == first
    assert proxy.score(make(), x, y, loss=LOSS) == first
    assert torch.equal(x, x_before)
    assert not x.requires_grad
    assert type(first) is float


@every_proxy
def test_score_is_the_same_where_gradients_are_switched_off_for_the_parameters(
    proxy: Proxy,
) -> None:
    x, y = well_posed_batch()
    frozen = plain_net().requires_grad_(False)
    assert proxy.score(frozen, x, y, loss=LOSS) == proxy.score(plain_net(), x, y, loss=LOSS)


@pytest.mark.parametrize("make", [plain_net, lambda: norm_net().eval()])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 100])
@every_proxy
def test_score_does_not_depend_on_the_micro_batches(
    proxy: Proxy, size: int, make: Callable[[], nn.Module]
) -> None:
    x, y = batch(size=8, side=12)
    whole = proxy.score(make(), x, y, loss=LOSS)
    assert proxy.score(make(), x, y, loss=LOSS, micro_batch_size=size) == pytest.approx(
        whole, rel=1e-8
    )


@every_proxy
def test_micro_batches_are_refused_where_batch_norm_couples_them(proxy: Proxy) -> None:
    x, y = batch(size=8, side=12)
    whole = proxy.score(norm_net(), x, y, loss=LOSS)
    assert proxy.score(norm_net(), x, y, loss=LOSS, micro_batch_size=8) == whole
    if proxy.name in IN_MICRO_BATCHES:
        with pytest.raises(ConfigError, match=r"micro_batch_size is 3 .* batch norm"):
            proxy.score(norm_net(), x, y, loss=LOSS, micro_batch_size=3)
    else:
        assert proxy.score(norm_net(), x, y, loss=LOSS, micro_batch_size=3) == whole


@every_network
@every_proxy
def test_labels_matter_exactly_where_the_record_says(
    proxy: Proxy, make: Callable[[], nn.Module]
) -> None:
    x, y = well_posed_batch()
    y = torch.tensor([0, 1, 1, 2])
    scores = {proxy.score(make(), x, labels, loss=LOSS) for labels in (y, (y + 1) % 3)}
    assert len(scores) == (2 if proxy.needs_labels else 1)


@every_proxy
def test_order_of_the_images_does_not_matter(proxy: Proxy) -> None:
    if proxy.name == "zico":
        pytest.skip("the order says which images make a batch")
    x, y = well_posed_batch()
    order = torch.tensor([2, 0, 3, 1])
    score = proxy.score(norm_net(), x[order], y[order], loss=LOSS)
    assert score == pytest.approx(proxy.score(norm_net(), x, y, loss=LOSS), rel=1e-7)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@every_proxy
def test_network_that_is_not_finite_has_no_score(proxy: Proxy, value: float) -> None:
    net, (x, y) = plain_net(), well_posed_batch()
    with torch.no_grad():
        net.second.weight[0, 0, 0, 0] = value
    if proxy.name in BASELINES | {"zen"}:
        assert math.isfinite(proxy.score(net, x, y, loss=LOSS))
    else:
        with pytest.raises(ProxyFailedError, match=f"{proxy.name} gives no score"):
            proxy.score(net, x, y, loss=LOSS)


@every_proxy
def test_image_that_is_not_finite_has_no_score(proxy: Proxy) -> None:
    x, y = well_posed_batch()
    x[1, 0, 2, 2] = math.nan
    if proxy.name in WITHOUT_DATA:
        assert math.isfinite(proxy.score(norm_net(), x, y, loss=LOSS))
    else:
        with pytest.raises(ProxyFailedError, match=f"{proxy.name} gives no score"):
            proxy.score(norm_net(), x, y, loss=LOSS)


def standalone(space: str, *, seed: int = 0) -> nn.Module:
    rng = np.random.default_rng(seed)
    architecture = S1.random(rng) if space == "s1" else NB201.random(rng)
    make = partial(make_standalone, space, architecture, num_classes=4, num_channels=4)
    return build(make, seed=seed, dtype=torch.float32)


@pytest.mark.parametrize("space", ["s1", "nb201"])
@every_proxy
def test_networks_of_the_benchmarks_have_scores(proxy: Proxy, space: str) -> None:
    x, _ = batch(size=4, side=16)
    y = torch.tensor([0, 3, 1, 2])
    net = standalone(space)
    before = state_of(net)
    score = proxy.score(net, x.float(), y, loss=LOSS)
    assert math.isfinite(score)
    assert_same_state(before, state_of(net))


DISCONNECTED_FAILURES = {"jacob_cov", "naswot", "zen", "zico", "ntk_condition"}


@every_proxy
def test_network_that_ignores_its_input_is_zero_or_a_failure(proxy: Proxy) -> None:
    make = partial(make_standalone, "nb201", NB201Architecture(("none",) * 6), num_classes=4)
    net = build(make, seed=0, dtype=torch.float32)
    x, y = batch(size=4, side=16)
    score = partial(proxy.score, net, x.float(), y, loss=LOSS)
    if proxy.name in DISCONNECTED_FAILURES:
        with pytest.raises(ProxyFailedError):
            score()
    elif proxy.name == "synflow":
        assert score() == 0
    else:
        assert math.isfinite(score())
