from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nasi_ray.errors import ConfigError, ProxyFailedError
from nasi_ray.proxies import get_proxy, ntk_condition
from nasi_ray.proxies.gradients import couples_examples
from nasi_ray.proxies.jacobian import jacobian_rows
from tests.nasi.exact_ntk import jacobian
from tests.proxies.nets import (
    LOSS,
    batch,
    norm_net,
    own_norm_net,
    plain_net,
    stateless_norm_net,
)

NETWORKS = [plain_net, norm_net, own_norm_net, lambda: norm_net().eval()]


def explicit(net: nn.Module, x: Tensor) -> Tensor:
    if couples_examples(net) and list(net.buffers()):
        net = stateless_norm_net()
    return jacobian(net, x, lambda images: (images,))


@pytest.mark.parametrize("make", NETWORKS)
def test_rows_are_those_of_the_jacobian(make: Callable[[], nn.Module]) -> None:
    x, _ = batch()
    net = make()
    rows = torch.stack(list(jacobian_rows(net, list(net.parameters()), x)))
    torch.testing.assert_close(rows, explicit(make(), x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("make", "sizes"), [(plain_net, [1] * 6), (norm_net, [6])])
def test_images_go_one_by_one_unless_coupled(
    make: Callable[[], nn.Module], sizes: list[int]
) -> None:
    x, _ = batch()
    net, seen = make(), []
    net.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    for _ in jacobian_rows(net, list(net.parameters()), x):
        pass
    assert seen == sizes


@pytest.mark.parametrize("make", NETWORKS)
def test_trace_is_the_sum_of_the_eigenvalues(make: Callable[[], nn.Module]) -> None:
    x, y = batch()
    jac = explicit(make(), x).numpy()
    score = get_proxy("ntk_trace").score(make(), x, y, loss=LOSS)
    assert score == pytest.approx(np.linalg.eigvalsh(jac @ jac.T).sum(), rel=1e-10)


@pytest.mark.parametrize("max_bytes", [1 << 30, 8 * 9 * 60, 1])
@pytest.mark.parametrize("make", NETWORKS)
def test_condition_is_the_square_of_the_jacobian_s(
    make: Callable[[], nn.Module], max_bytes: int
) -> None:
    x, y = batch(size=3, side=12)
    singular_values = np.linalg.svd(explicit(make(), x).numpy(), compute_uv=False)
    score = ntk_condition.score(make(), x, y, loss=LOSS, max_bytes=max_bytes)
    assert score == pytest.approx((singular_values[0] / singular_values[-1]) ** 2, rel=1e-6)


def test_singular_kernel_is_a_failure() -> None:
    x, y = batch(size=3, side=12)
    x[2] = x[0]
    with pytest.raises(ProxyFailedError, match=r"ntk_condition gives no score: .* singular"):
        get_proxy("ntk_condition").score(plain_net(), x, y, loss=LOSS)
    assert get_proxy("ntk_trace").score(plain_net(), x, y, loss=LOSS) > 0


def test_too_many_outputs_are_refused() -> None:
    x, y = batch(size=342)
    with pytest.raises(ConfigError, match="342 images has 1026 rows; at most 1024"):
        get_proxy("ntk_condition").score(plain_net(), x, y, loss=LOSS)


def test_smaller_condition_is_the_better_one() -> None:
    assert not get_proxy("ntk_condition").higher_is_better
    assert get_proxy("ntk_trace").higher_is_better
