from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence

import pytest
import ray

from nasi_ray.config import WorkerConfig
from nasi_ray.errors import ClusterError, ConfigError, NasiRayError, NoCapacityError
from nasi_ray.pool.connection import connect
from nasi_ray.pool.nodes import (
    Resources,
    capacity_timeout_s,
    count_slots,
    describe_nodes,
    draining_nodes,
    has_autoscaler,
    is_selected,
    live_nodes,
    plan_workers,
)

CPU_NODE: Resources = {"CPU": 8.0, "memory": 1e9}
GPU_NODE: Resources = {"CPU": 16.0, "GPU": 4.0}
HEAD: Resources = {"CPU": 0.0}
USE = "nasi-ray/use"


@pytest.mark.parametrize(
    ("nodes", "config", "num_workers", "gpus"),
    [
        ([CPU_NODE], WorkerConfig(), 8, 0),
        ([CPU_NODE, CPU_NODE], WorkerConfig(threads_per_worker=3), 4, 0),
        ([HEAD, GPU_NODE, GPU_NODE], WorkerConfig(), 8, 1),
        ([HEAD, GPU_NODE, CPU_NODE], WorkerConfig(), 4, 1),
        ([GPU_NODE], WorkerConfig(threads_per_worker=8), 2, 1),
        ([GPU_NODE], WorkerConfig(gpus_per_worker=0.25), 16, 0.25),
        ([GPU_NODE], WorkerConfig(gpus_per_worker=0.3), 12, 0.3),
        ([{"CPU": 40.0, "GPU": 4.0}], WorkerConfig(gpus_per_worker=0.1), 40, 0.1),
        ([GPU_NODE], WorkerConfig(gpus_per_worker=2), 2, 2),
        ([GPU_NODE], WorkerConfig(gpus_per_worker=0), 16, 0),
        ([CPU_NODE], WorkerConfig(num_workers=3), 3, 0),
        ([CPU_NODE], WorkerConfig(num_workers=100), 100, 0),
    ],
)
def test_plan_follows_gpus_then_cpus_unless_told(
    nodes: Sequence[Resources], config: WorkerConfig, num_workers: int, gpus: float
) -> None:
    plan = plan_workers(nodes, config)
    assert plan.num_workers == num_workers
    assert plan.gpus_per_worker == gpus
    assert plan.cpus_per_worker == config.threads_per_worker


@pytest.mark.parametrize(
    ("config", "asked"),
    [
        (WorkerConfig(gpus_per_worker=1), "1 CPU and 1 GPU"),
        (WorkerConfig(gpus_per_worker=0.5, num_workers=2), "1 CPU and 0.5 GPU"),
        (WorkerConfig(threads_per_worker=9, num_workers=1), "9 CPU"),
    ],
)
def test_a_request_no_node_can_hold_says_what_was_asked_and_what_is_there(
    config: WorkerConfig, asked: str
) -> None:
    with pytest.raises(NoCapacityError) as raised:
        plan_workers([CPU_NODE, CPU_NODE, HEAD], config)
    assert f"a worker asks for {asked} and no node has that" in str(raised.value)
    assert "2 × (8 CPU, 0 GPU), 1 × (0 CPU, 0 GPU)" in str(raised.value)


def test_with_an_autoscaler_one_worker_is_asked_for_where_nothing_is() -> None:
    plan = plan_workers([HEAD], WorkerConfig(gpus_per_worker=1), has_autoscaler=True)
    assert (plan.num_workers, plan.gpus_per_worker) == (1, 1)
    assert plan_workers([HEAD], WorkerConfig(num_workers=7), has_autoscaler=True).num_workers == 7


def test_nodes_that_have_yet_to_boot_are_waited_for_unless_told() -> None:
    auto, told = WorkerConfig(), WorkerConfig(capacity_timeout_s=5.0)
    assert capacity_timeout_s(auto, has_autoscaler=False) == 120.0
    assert capacity_timeout_s(auto, has_autoscaler=True) >= 900.0
    assert capacity_timeout_s(told, has_autoscaler=True) == 5.0


def test_slots_are_counted_node_by_node() -> None:
    assert count_slots([{"CPU": 3.0}, {"CPU": 3.0}], 2, 0) == 2
    assert count_slots([], 1, 0) == 0


def test_no_nodes_are_described_as_such() -> None:
    assert describe_nodes([]) == "no nodes"


@pytest.mark.parametrize(
    ("condition", "selected"),
    [
        ("evaluation", ["evaluation"]),
        ("!evaluation", ["search", ""]),
        ("in(search,other)", ["search"]),
        ("in(search, evaluation)", ["evaluation", "search"]),
        ("!in(search,other)", ["evaluation", ""]),
    ],
)
def test_nodes_are_selected_by_their_labels(condition: str, selected: Sequence[str]) -> None:
    nodes = {name: {USE: name} if name else {} for name in ("evaluation", "search", "")}
    conditions = {USE: condition}
    assert [name for name in nodes if is_selected(nodes[name], conditions)] == selected
    assert not is_selected({USE: "search"}, {**conditions, "other": "x"})
    assert is_selected({}, {})


def test_a_request_that_no_selected_node_holds_says_which_are_selected() -> None:
    config = WorkerConfig(num_workers=1, label_selector="a/b=in(x,y),c=!z")
    with pytest.raises(NoCapacityError, match=r"has no nodes with labels a/b=in\(x,y\),c=!z: "):
        plan_workers([], config)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("address", "kind", "said"),
    [
        ("127.0.0.1:{port}", ClusterError, "no Ray cluster answers at 127.0.0.1:"),
        ("no-such-host.invalid:6379", ClusterError, "answers at no-such-host.invalid:6379"),
        ("ray://127.0.0.1:10001", ConfigError, "ray://127.0.0.1:10001 is no cluster address"),
        ("http://127.0.0.1:8265", ConfigError, "ray job submit"),
        ("somewhere", ConfigError, "give host:port, or auto"),
        ("a..b:6379", ConfigError, "'a..b' in 'a..b:6379' is no host name"),
        ("127.0.0.1:²", ConfigError, "'127.0.0.1:²' is no cluster address"),
        ("127.0.0.1:99999", ConfigError, "'127.0.0.1:99999' is no cluster address"),
    ],
)
def test_an_address_without_a_cluster_is_one_line_at_once(
    address: str, kind: type[NasiRayError], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    start = time.monotonic()
    with (
        pytest.raises(kind) as raised,
        connect(address.format(port=free_port()), WorkerConfig()),
    ):
        pass
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert time.monotonic() - start < 8.0


@pytest.mark.integration
@pytest.mark.usefixtures("local_ray")
def test_a_connected_ray_is_used_and_left_running() -> None:
    with connect(None, WorkerConfig(num_workers=64)):
        assert [node["CPU"] for node in live_nodes()] == [4.0]
    assert ray.is_initialized()


@pytest.mark.integration
@pytest.mark.usefixtures("local_ray")
def test_a_local_ray_has_no_autoscaler_and_no_draining_nodes() -> None:
    assert not has_autoscaler()
    assert draining_nodes() == frozenset()
    assert [node["CPU"] for node in live_nodes()] == [4.0]
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
