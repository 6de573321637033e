"""Two tiny searches that all tests of replays share."""

from __future__ import annotations

from typing import Any

import pytest

import nasi_ray

TINY: dict[str, Any] = {
    "batch_size": 2, "image_size": 8, "init_channels": 2, "num_workers": 0, "progress": None
}  # fmt: skip


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two searches with e and its gradient."""
    where = tmp_path_factory.mktemp("replayed")
    for seed in (0, 1):
        nasi_ray.search(
            "s1", preset="nasi-ntk", seed=seed, num_samples=8, out=str(where / f"s1-{seed}"), **TINY
        )
    return [str(where / f"s1-{seed}") for seed in (0, 1)]
