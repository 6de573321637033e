from __future__ import annotations

from typing import Any

import pytest

from nasi_ray.errors import ConfigError
from nasi_ray.networks.by_space import networks_of
from nasi_ray.spaces import SPACES, get_space
from tests.networks.supernet_case import batch, draw, gradients, small_net


@pytest.mark.parametrize("space", list(SPACES))
def test_auto_is_the_usual_number_of_cells(space: str) -> None:
    assert get_space(space).resolve_num_cells("auto") == get_space(space).num_cells
    assert get_space(space).resolve_num_cells(3) == 3


@pytest.mark.parametrize("num_cells", [1, 2])
def test_too_few_cells_are_refused(num_cells: int) -> None:
    with pytest.raises(ConfigError, match=f"num_cells is {num_cells}; darts needs at least 3"):
        get_space("darts").resolve_num_cells(num_cells)


@pytest.mark.parametrize("space", list(SPACES))
def test_cells_are_of_the_types_of_the_space(space: str) -> None:
    found = get_space(space)
    types = networks_of(found).cell_types(found.num_cells)
    assert set(types) == set(found.cell_types)


def test_darts_has_eight_cells() -> None:
    assert get_space("darts").num_cells == 8


@pytest.mark.parametrize("space", ["darts", "s1", "nb201"])
@pytest.mark.parametrize(
    "options",
    [
        {"init": "kaiming"},
        {"init": "xavier"},
        {"init": "ntk"},
        {"init": "ntk", "batch_norm": "plain"},
        {"batch_norm": "affine"},
        {"batch_norm": "plain"},
    ],
    ids=lambda options: "-".join(options.values()),
)
def test_the_gradient_is_exact_for_every_initialisation_and_batch_norm(
    space: str, options: dict[str, Any]
) -> None:
    net = small_net(space, num_cells=3, channels=3, **options)
    x, y = batch(seed=2, images=5)
    found = gradients(net, x, y, draw(space, num_cells=3, sample_per="step", seed=3))
    assert found.e == pytest.approx(found.reference_e, rel=1e-9)
    assert found.error < 1e-9
