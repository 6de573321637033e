"""The watcher as a process of its own beside a real Ray node, with a token."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.cluster.imds_server import fake_metadata

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
NOTICE = '{"action": "terminate", "time": "2099-01-01T00:00:00Z"}'

SCRIPT = """
import json, os, subprocess, sys, time
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={
    "num_cpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False})
nodes = {}
for name in ("i-taken", "i-kept"):
    os.environ["RAY_CLOUD_INSTANCE_ID"] = name
    nodes[name] = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
cluster.wait_for_nodes()

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from nasi_ray.pool.nodes import draining_nodes
ray.init(cluster.address, log_to_driver=False, logging_level=40)

@ray.remote(num_cpus=1)
class Busy:
    def where(self):
        return ray.get_runtime_context().get_node_id()

# A node without work leaves as soon as it is drained.
busy = [
    Busy.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, False)).remote()
    for node in nodes.values()]
assert ray.get([b.where.remote() for b in busy]) == [node.node_id for node in nodes.values()]

os.environ["RAY_CLOUD_INSTANCE_ID"] = "i-taken"
watcher = subprocess.run(
    [sys.executable, "-m", "nasi_ray.cluster.spot_watcher", "--address", cluster.address,
     "--metadata-url", sys.argv[1], "--poll-s", "0.2", "--lock", sys.argv[2]],
    stderr=subprocess.PIPE, text=True, timeout=60)

print(json.dumps({
    "code": watcher.returncode,
    "log": watcher.stderr,
    "draining": [name for name, node in nodes.items() if node.node_id in draining_nodes()],
}))
ray.shutdown()
cluster.shutdown()
"""


def test_a_notice_drains_the_node_of_this_instance_and_no_other(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    env |= {
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 2,
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with fake_metadata() as fake:
        fake.values["spot/instance-action"] = NOTICE
        command = [sys.executable, "-c", textwrap.dedent(SCRIPT), fake.url]
        process = subprocess.run(
            [*command, str(tmp_path / "lock")],
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert process.returncode == 0, process.stderr
    last = process.stdout.splitlines()[-1]
    assert '"draining": ["i-taken"]' in last, last
    assert '"code": 0' in last
    assert "draining the node" in last
