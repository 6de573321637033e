"""A training on a node that is announced to go away, and goes."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2

from nasi_ray.storage import LocalStorage
from nasi_ray.training import checkpoints
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

_NOTICE_S = 25.0
BASE: dict[str, Any] = {
    "epochs": 40, "num_train_images": 768, "micro_batch_size": 8, "image_size": 16,
    "num_workers": 1,
}  # fmt: skip
"""48 steps an epoch; each takes some milliseconds."""


class Preempting(Quiet):
    """Once some epochs are done, announces that the node goes, and adds another."""

    def __init__(self, cluster: Cluster, node: Any) -> None:
        super().__init__()
        self._cluster, self._node, self.is_announced = cluster, node, False

    def message(self, text: str) -> None:
        super().message(text)
        if text.startswith("epoch 2/") and not self.is_announced:
            self.is_announced = True
            GcsClient(address=self._cluster.address).drain_node(
                self._node.node_id,
                autoscaler_pb2.DRAIN_NODE_REASON_PREEMPTION,  # type: ignore[attr-defined]
                "spot",
                int((time.time() + _NOTICE_S) * 1000),
            )
            self._cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
            threading.Timer(_NOTICE_S, self._take_away).start()

    def _take_away(self) -> None:
        self._cluster.remove_node(self._node, allow_graceful=False)


def test_a_preempted_node_is_not_charged_and_loses_nothing(
    tmp_path: Path, cluster: Cluster
) -> None:
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    out = tmp_path / "preempted"
    display = Preempting(cluster, node)
    # Not one failure is allowed, so that the run ends here if the loss of the node is charged.
    run_train(tiny(out, **BASE, max_failures=0), display)
    assert display.is_announced
    again = [line for line in display.messages if line.startswith("continues at epoch")]
    assert len(again) == 1, display.messages
    assert display.messages.count("a node will be shut down: saved a checkpoint") == 1
    run_train(tiny(tmp_path / "whole", **{**BASE, "num_workers": 0}), Quiet())
    assert figures(out) == figures(tmp_path / "whole")
    assert checkpoints.steps_of(LocalStorage(str(out)))[-1] == 40 * 48
