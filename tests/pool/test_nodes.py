from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import ray

from nasi_ray.config import ComputeSettings
from nasi_ray.errors import NoCapacityError
from nasi_ray.pool import nodes as cluster
from nasi_ray.pool.nodes import (
    Resources,
    draining_nodes,
    has_autoscaler,
    is_selected,
    live_nodes,
    num_workers_that_fit,
    plan_for,
)

CPU_NODE: Resources = {"CPU": 8.0, "memory": 1e9}
GPU_NODE: Resources = {"CPU": 16.0, "GPU": 4.0}
HEAD: Resources = {"CPU": 0.0}
USE = "nasi-ray/use"


class FakeCluster:
    """What Ray says of a cluster."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.resources: Sequence[Resources] = []
        self.labels: Sequence[Mapping[str, str]] = []
        self.has_autoscaler = False
        self.num_asked = 0
        monkeypatch.setattr(ray, "nodes", self.nodes)
        monkeypatch.setattr(cluster, "draining_nodes", lambda: frozenset({"draining"}))
        monkeypatch.setattr(cluster, "has_autoscaler", lambda: self.has_autoscaler)

    def nodes(self) -> list[dict[str, Any]]:
        self.num_asked += 1
        labels = [*self.labels, *[{} for _ in self.resources[len(self.labels) :]]]
        alive = [
            {"NodeID": str(number), "Alive": True, "Resources": resources, "Labels": labels[number]}
            for number, resources in enumerate(self.resources)
        ]
        large = {"Resources": {"CPU": 64.0, "GPU": 8.0}, "Labels": {}}
        dead = {"NodeID": "dead", "Alive": False, **large}
        return [dead, *alive, {"NodeID": "draining", "Alive": True, **large}]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    return FakeCluster(monkeypatch)


@pytest.mark.parametrize(
    ("nodes", "config", "num_workers", "gpus"),
    [
        ([CPU_NODE], ComputeSettings(), 8, 0),
        ([CPU_NODE, CPU_NODE], ComputeSettings(threads_per_worker=3), 4, 0),
        ([{"CPU": 3.0}, {"CPU": 3.0}], ComputeSettings(threads_per_worker=2), 2, 0),
        ([HEAD, GPU_NODE, GPU_NODE], ComputeSettings(), 8, 1),
        ([HEAD, GPU_NODE, CPU_NODE], ComputeSettings(), 4, 1),
        ([GPU_NODE], ComputeSettings(threads_per_worker=8), 2, 1),
        ([GPU_NODE], ComputeSettings(gpus_per_worker=0.25), 16, 0.25),
        ([GPU_NODE], ComputeSettings(gpus_per_worker=0.3), 12, 0.3),
        ([{"CPU": 40.0, "GPU": 4.0}], ComputeSettings(gpus_per_worker=0.1), 40, 0.1),
        ([GPU_NODE], ComputeSettings(gpus_per_worker=2), 2, 2),
        ([GPU_NODE], ComputeSettings(gpus_per_worker=0), 16, 0),
        ([CPU_NODE], ComputeSettings(num_workers=3), 3, 0),
        ([CPU_NODE], ComputeSettings(num_workers=100), 100, 0),
    ],
)
def test_a_plan_follows_gpus_then_cpus_unless_the_user_says_otherwise(
    fake: FakeCluster,
    nodes: Sequence[Resources],
    config: ComputeSettings,
    num_workers: int,
    gpus: float,
) -> None:
    fake.resources = nodes
    plan = plan_for(config)
    assert plan.num_workers == num_workers
    assert plan.gpus_per_worker == gpus
    assert plan.cpus_per_worker == config.threads_per_worker
    assert plan.is_auto is (config.num_workers == "auto")
    assert fake.num_asked == 1
    if plan.is_auto:
        assert num_workers_that_fit(plan) == num_workers


@pytest.mark.parametrize(
    ("config", "needed"),
    [
        (ComputeSettings(gpus_per_worker=1), "1 CPU and 1 GPU"),
        (ComputeSettings(gpus_per_worker=0.5, num_workers=2), "1 CPU and 0.5 GPU"),
        (ComputeSettings(threads_per_worker=9, num_workers=1), "9 CPU"),
    ],
)
def test_an_error_about_capacity_says_what_a_worker_needs_and_what_the_cluster_has(
    fake: FakeCluster, config: ComputeSettings, needed: str
) -> None:
    fake.resources = [CPU_NODE, CPU_NODE, HEAD]
    with pytest.raises(NoCapacityError) as raised:
        plan_for(config)
    assert f"no node can hold a worker, which needs {needed}; the cluster" in str(raised.value)
    assert "2 × (8 CPU, 0 GPU), 1 × (0 CPU, 0 GPU)" in str(raised.value)


def test_with_an_autoscaler_one_worker_is_requested_if_no_node_holds_one(fake: FakeCluster) -> None:
    fake.resources, fake.has_autoscaler = [HEAD], True
    plan = plan_for(ComputeSettings(gpus_per_worker=1))
    assert (plan.num_workers, plan.gpus_per_worker) == (1, 1)
    assert num_workers_that_fit(plan) == 0
    assert plan_for(ComputeSettings(num_workers=7)).num_workers == 7


def test_a_plan_waits_longer_for_nodes_that_have_to_boot_unless_the_user_says_otherwise(
    fake: FakeCluster,
) -> None:
    fake.resources = [CPU_NODE]
    assert plan_for(ComputeSettings()).capacity_timeout_s == 120.0
    fake.has_autoscaler = True
    assert plan_for(ComputeSettings()).capacity_timeout_s >= 900.0
    assert plan_for(ComputeSettings(capacity_timeout_s=5.0)).capacity_timeout_s == 5.0


@pytest.mark.parametrize(
    ("condition", "selected"),
    [
        ("training", ["training"]),
        ("!training", ["search", ""]),
        ("in(search,other)", ["search"]),
        ("in(search, training)", ["training", "search"]),
        ("!in(search,other)", ["training", ""]),
    ],
)
def test_nodes_are_selected_by_their_labels(condition: str, selected: Sequence[str]) -> None:
    nodes = {name: {USE: name} if name else {} for name in ("training", "search", "")}
    conditions = {USE: condition}
    assert [name for name in nodes if is_selected(nodes[name], conditions)] == selected
    assert not is_selected({USE: "search"}, {**conditions, "other": "x"})
    assert is_selected({}, {})


def test_a_plan_uses_only_nodes_with_the_right_labels(fake: FakeCluster) -> None:
    fake.resources = [CPU_NODE, GPU_NODE, {"CPU": 2.0}]
    fake.labels = [{USE: "search"}, {USE: "training"}]
    plan = plan_for(ComputeSettings())
    assert (plan.num_workers, plan.gpus_per_worker) == (10, 0)
    assert plan.labels == {USE: "!training"}
    assert plan_for(ComputeSettings(label_selector=f"{USE}=training")).num_workers == 4


@pytest.mark.parametrize(
    ("selector", "listed"),
    [
        ("a/b=in(x,y),c=!z", "no nodes with labels a/b=in(x,y),c=!z: "),
        ("", "1 × (0 CPU, 0 GPU): "),
    ],
)
def test_an_error_about_capacity_says_which_nodes_are_selected(
    fake: FakeCluster, selector: str, listed: str
) -> None:
    fake.resources = [HEAD]
    with pytest.raises(NoCapacityError) as raised:
        plan_for(ComputeSettings(num_workers=1, label_selector=selector))
    assert f"the cluster has {listed}" in str(raised.value)


@pytest.mark.integration
@pytest.mark.usefixtures("local_ray")
def test_a_local_ray_has_no_autoscaler_and_no_draining_nodes() -> None:
    assert not has_autoscaler()
    assert draining_nodes() == frozenset()
    assert [node["CPU"] for node in live_nodes()] == [4.0]
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
