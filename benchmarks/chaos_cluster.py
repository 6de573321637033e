"""A real Ray cluster of several raylets on this machine, and what can befall it."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2

NUM_NODES = 3
DRAIN_S = 3.0
_STORE_BYTES = 80 * 2**20
# Ray's own 15 s until a dead node is noticed would be most of a run here.
_HEALTH_CHECK = {
    "health_check_initial_delay_ms": 2000,
    "health_check_period_ms": 1000,
    "health_check_failure_threshold": 4,
}


class ChaosCluster:
    """A head without CPUs, and nodes of one CPU that come and go."""

    def __init__(self) -> None:
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "object_store_memory": _STORE_BYTES,
                "include_dashboard": False,
                "_system_config": _HEALTH_CHECK,
            },
        )
        self._nodes: list[Any] = []
        self._draining: list[tuple[Any, float]] = []
        self.replenish()

    @property
    def address(self) -> str:
        """``host:port`` of the cluster."""
        return str(self._cluster.address)

    @property
    def num_nodes(self) -> int:
        """Nodes that take work."""
        return len(self._nodes)

    def add_node(self) -> None:
        """Start one more raylet."""
        node = self._cluster.add_node(num_cpus=1, object_store_memory=_STORE_BYTES)
        self._nodes.append(node)

    def kill_node(self, rng: random.Random) -> None:
        """SIGKILL a raylet and all of its processes."""
        node = self._nodes.pop(rng.randrange(len(self._nodes)))
        self._cluster.remove_node(node, allow_graceful=False)

    def drain_node(self, rng: random.Random) -> None:
        """Announce that a spot node goes away in some seconds, which it will."""
        node = self._nodes.pop(rng.randrange(len(self._nodes)))
        self._draining.append((node, time.monotonic() + DRAIN_S))
        GcsClient(address=self.address).drain_node(
            node.node_id,
            autoscaler_pb2.DRAIN_NODE_REASON_PREEMPTION,  # type: ignore[attr-defined]
            "spot",
            int((time.time() + DRAIN_S) * 1000),
        )

    def reap(self) -> None:
        """Take away the draining nodes whose time has come."""
        due = [pair for pair in self._draining if time.monotonic() >= pair[1]]
        for pair in due:
            self._draining.remove(pair)
            self._cluster.remove_node(pair[0], allow_graceful=False)

    def replenish(self) -> None:
        """Back to the full number of nodes, none of them draining."""
        for node, _ in self._draining:
            self._cluster.remove_node(node, allow_graceful=False)
        self._draining.clear()
        while self.num_nodes > NUM_NODES:
            self._cluster.remove_node(self._nodes.pop(), allow_graceful=False)
        while self.num_nodes < NUM_NODES:
            self.add_node()

    def shutdown(self) -> None:
        """End every process of the cluster."""
        self._cluster.shutdown()  # type: ignore[no-untyped-call]


def kill_worker(pids: list[int], rng: random.Random) -> bool:
    """SIGKILL one of the Ray workers among these processes; False if none lives."""
    alive = [pid for pid in pids if _is_ray_worker(pid)]
    if alive:
        os.kill(rng.choice(alive), signal.SIGKILL)
    return bool(alive)


@contextmanager
def chaos_cluster(folder: Path) -> Iterator[ChaosCluster]:
    """A cluster that keeps to itself: its files are in ``folder``, nobody's token is used."""
    os.environ.update(RAY_TMPDIR=str(folder), RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0")
    cluster = ChaosCluster()
    try:
        yield cluster
    finally:
        cluster.shutdown()


def _is_ray_worker(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::")
    except OSError:
        return False
