"""What cells cost, by arithmetic, against the benchmarks' own networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nasi_ray.nasi.loss import LOSSES
from nasi_ray.networks.by_space import make_standalone
from nasi_ray.proxies import get_proxy
from nasi_ray.spaces import get_space
from nasi_ray.spaces.options import architecture_at, costs_of, grid_shape

NUM_CELLS = {"s1": 8, "s2": 8, "s3": 4, "nb201": 12}


@pytest.mark.parametrize("name", NUM_CELLS)
def test_costs_are_those_of_the_benchmarks_network(name: str) -> None:
    space = get_space(name)
    params, multiply_adds = costs_of(space, "params"), costs_of(space, "multiply_adds")
    assert params is not None
    assert multiply_adds is not None
    assert params.shape == multiply_adds.shape == grid_shape(space)
    x, y = torch.zeros(2, 3, 32, 32), torch.zeros(2, dtype=torch.long)
    rng = np.random.default_rng(0)
    for _ in range(NUM_CELLS[name]):
        position = rng.integers(params.shape)
        cell = architecture_at(space, position)
        with torch.device("meta"):
            net = make_standalone(name, cell, num_classes=10)
        found = sum(p.numel() for p in net.parameters())
        assert params[tuple(position)] == cell.num_params() == found
        expected = get_proxy("multiply_adds").score(net, x, y, loss=LOSSES["cross-entropy"])
        assert multiply_adds[tuple(position)] == expected


@pytest.mark.parametrize("name", ["s1", "nb201"])
def test_the_grid_has_every_cell_of_the_space(name: str) -> None:
    space = get_space(name)
    params = costs_of(space, "params")
    assert params is not None
    every = np.sort([cell.num_params() for cell in space])  # type: ignore[attr-defined]
    assert np.array_equal(np.sort(params.ravel()), every)


def test_a_space_that_cannot_be_enumerated_knows_no_costs() -> None:
    assert costs_of(get_space("darts"), "params") is None
