"""A training whose number of workers follows the nodes that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from nasi_ray.errors import NoCapacityError
from nasi_ray.pool import train as pool_train
from nasi_ray.training.job import run_train
from tests.contracts.cluster import STORE_BYTES
from tests.toy import Quiet
from tests.training.trainings import figures, tiny

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Ray itself
]

BASE: dict[str, Any] = {
    "epochs": 40, "num_train_images": 768, "micro_batch_size": 2, "image_size": 16,
    "num_workers": 3, "dist_bn": "reduce", "lr": 0.01,
}  # fmt: skip
"""8 micro-batches a step, which three workers share as 2, 3 and 3."""


class Losing(Quiet):
    """Once some epochs are done, takes away the node of two workers, and brings another later."""

    def __init__(self, cluster: Cluster, node: Any) -> None:
        super().__init__()
        self._cluster, self._node, self._epochs_alone = cluster, node, 0

    def message(self, text: str) -> None:
        super().message(text)
        if text.startswith("epoch 3/"):
            self._cluster.remove_node(self._node, allow_graceful=False)
        if "with 1 worker instead of 3" in text:
            self._cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES)


def test_workers_are_lost_and_come_back(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_train, "_RESIZE_S", 5.0)
    cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    display = Losing(cluster, cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES))
    run_train(tiny(tmp_path / "elastic", **BASE, min_workers=1), display)
    again = [line for line in display.messages if line.startswith("continues at epoch")]
    assert [line.rpartition(", with ")[2] for line in again] == [
        "1 worker instead of 3",
        "3 workers instead of 1",
    ], display.messages
    run_train(tiny(tmp_path / "whole", **{**BASE, "num_workers": 0}), Quiet())
    # The same images in the same micro-batches: sums are rounded in another order, which grows.
    pairs = list(zip(figures(tmp_path / "elastic"), figures(tmp_path / "whole"), strict=True))
    for (one, other), tolerance in zip(pairs, (1e-4, 1e-3, 1e-2), strict=False):
        assert one[:3] == pytest.approx(other[:3], rel=tolerance)
    for one, other in pairs:
        assert one[:3] == pytest.approx(other[:3], rel=0.1)


def test_no_room_for_the_fewest_workers_ends_the_wait(tmp_path: Path, cluster: Cluster) -> None:
    cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    job = tiny(tmp_path, **BASE, min_workers=2, capacity_timeout_s=5.0)
    with pytest.raises(NoCapacityError, match=r"^there is no room for 2 workers with 1 CPU each"):
        run_train(job, Quiet())
