"""The sub-network of an architecture is a copy: the supernet stays what it was."""

from __future__ import annotations

import pytest
import torch

from nasi_ray.config import SampleConfig
from nasi_ray.nasi.evaluator import SubNetworks
from nasi_ray.networks.mixture import PathMixer
from nasi_ray.networks.sub_network import layers_used, sub_network


@pytest.mark.parametrize("init", ["default", "ntk"])
@pytest.mark.parametrize("space", ["s1", "nb201", "darts"])
def test_it_computes_the_same_and_leaves_the_supernet_alone(space: str, init: str) -> None:
    config = SampleConfig(
        space=space,
        init=init,  # type: ignore[arg-type]
        init_channels=2,
        num_cells=3,
        batch_size=3,
        image_size=8,
    )
    made = SubNetworks(config, None, device="cpu")
    architecture, x, _ = made.at(1)
    before = made.net(x, PathMixer(architecture.at))
    net = sub_network(made.net, architecture.at, layers_used(made.net, architecture.at, x))
    torch.testing.assert_close(net(x), before, rtol=0, atol=0)
    for p in net.parameters():
        p.data.zero_()
    torch.testing.assert_close(made.net(x, PathMixer(architecture.at)), before, rtol=0, atol=0)
    # θ of the NTK parameterisation belongs to the supernet alone; the copy has plain weights.
    names = dict(net.named_parameters())
    assert not [name for name in names if "parametrizations" in name]
