"""What a Ray cluster has, and the workers it can hold."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.experimental.internal_kv import _internal_kv_get

from nasi_ray.config import WorkerConfig, labels_of
from nasi_ray.errors import NoCapacityError

Resources = Mapping[str, float]
"""Resource name -> amount of one node, as Ray counts them: ``CPU``, ``GPU``, ..."""

_CAPACITY_S = 120.0
# A spot GPU may be offered late, and its machine boots and pulls an image of gigabytes.
_AUTOSCALER_CAPACITY_S = 1800.0
_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerPlan:
    """How many workers to have, and what each one asks for."""

    num_workers: int
    """Workers to ask for (≥ 1); what does not fit now stays pending."""
    cpus_per_worker: int
    gpus_per_worker: float
    labels: Mapping[str, str]
    """Label -> condition of the nodes it may run on."""

    @property
    def request(self) -> str:
        """What one worker asks for, for people."""
        gpus = f" and {self.gpus_per_worker:g} GPU" if self.gpus_per_worker else ""
        return f"{self.cpus_per_worker} CPU{gpus}"


def plan_workers(
    nodes: Sequence[Resources], config: WorkerConfig, *, has_autoscaler: bool = False
) -> WorkerPlan:
    """Turn what was asked for and what the cluster has into a plan.

    auto: one worker per GPU where there are GPUs (⌊1/f⌋ per GPU for a fraction f), else one per
    ``threads_per_worker`` CPUs. With an autoscaler, auto takes what is there and asks for one
    worker where nothing is; only an explicit ``num_workers`` asks for more machines.

    Args:
        nodes: Total resources of each node that is alive and that workers may run on.
        config: What was asked for.
        has_autoscaler: Whether nodes may still be added on demand.

    Raises:
        NoCapacityError: If no node can ever hold one worker.
    """
    gpus: float
    if config.gpus_per_worker == "auto":
        gpus = 1.0 if any(node.get("GPU", 0.0) >= 1.0 for node in nodes) else 0.0
    else:
        gpus = float(config.gpus_per_worker)
    slots = count_slots(nodes, config.threads_per_worker, gpus)
    num_workers = slots if config.num_workers == "auto" else config.num_workers
    plan = WorkerPlan(
        num_workers=max(1, num_workers),
        cpus_per_worker=config.threads_per_worker,
        gpus_per_worker=gpus,
        labels=labels_of(config.label_selector),
    )
    if slots == 0 and not has_autoscaler:
        raise NoCapacityError(
            f"a worker asks for {plan.request} and no node has that; the cluster has "
            f"{describe_nodes(nodes, plan.labels)}: lower gpus_per_worker or threads_per_worker, "
            "change label_selector, or add a node"
        )
    return plan


def capacity_timeout_s(config: WorkerConfig, *, has_autoscaler: bool) -> float:
    """How long to wait with no worker at all before giving up, in seconds.

    Args:
        config: What was asked for.
        has_autoscaler: Whether nodes are added on demand.
    """
    if config.capacity_timeout_s != "auto":
        return config.capacity_timeout_s
    return _AUTOSCALER_CAPACITY_S if has_autoscaler else _CAPACITY_S


def count_slots(nodes: Sequence[Resources], cpus: float, gpus: float) -> int:
    """How many workers of ``cpus`` CPUs and ``gpus`` GPUs the nodes hold when they are empty."""
    return sum(_slots(node, cpus, gpus) for node in nodes)


def _slots(node: Resources, cpus: float, gpus: float) -> int:
    slots = math.floor(node.get("CPU", 0.0) / cpus + _ROUNDING)
    if gpus >= 1:
        slots = min(slots, math.floor(node.get("GPU", 0.0) / gpus + _ROUNDING))
    elif gpus > 0:
        # Ray never splits one request over two GPUs: 0.3 leaves a tenth of each GPU unused.
        per_gpu = math.floor(1.0 / gpus + _ROUNDING)
        slots = min(slots, math.floor(node.get("GPU", 0.0) + _ROUNDING) * per_gpu)
    return slots


def describe_nodes(nodes: Sequence[Resources], labels: Mapping[str, str] | None = None) -> str:
    """The cluster in a few words, largest first: ``2 × (8 CPU, 1 GPU), 1 × (4 CPU, 0 GPU)``.

    Args:
        nodes: Total resources of each node.
        labels: What all of them have, where others are left out.
    """
    kinds: dict[tuple[float, float], int] = {}
    for node in nodes:
        kind = (node.get("CPU", 0.0), node.get("GPU", 0.0))
        kinds[kind] = kinds.get(kind, 0) + 1
    words = [
        f"{num} × ({cpus:g} CPU, {gpus:g} GPU)"
        for (cpus, gpus), num in sorted(kinds.items(), reverse=True)
    ]
    told = ",".join(f"{key}={value}" for key, value in (labels or {}).items())
    return (", ".join(words) or "no nodes") + (f" with labels {told}" if told else "")


def live_nodes(labels: Mapping[str, str] | None = None) -> list[Resources]:
    """Total resources of each node that is alive and not being drained.

    Args:
        labels: Label -> condition; nodes that do not meet all are left out.
    """
    draining = draining_nodes()
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [
        node["Resources"]
        for node in nodes
        if node["Alive"]
        and node["NodeID"] not in draining
        and is_selected(node.get("Labels") or {}, labels or {})
    ]


def is_selected(labels: Mapping[str, str], conditions: Mapping[str, str]) -> bool:
    """Whether a node's labels meet all conditions of a label selector, as Ray decides it.

    Args:
        labels: Of the node.
        conditions: Label -> ``VALUE``, ``!VALUE``, ``in(A,B)`` or ``!in(A,B)``; a node without
            the label meets the two with ``!``.
    """
    for key, condition in conditions.items():
        value = condition.removeprefix("!")
        listed = re.fullmatch(r"in\((.*)\)", value)
        allowed = re.split(", ?", listed[1]) if listed else [value]
        if (labels.get(key) in allowed) == condition.startswith("!"):
            return False
    return True


def draining_nodes() -> frozenset[str]:
    """Ids (hex) of the nodes being drained; empty where this Ray cannot tell."""
    try:
        return frozenset(ray._private.state.state.get_draining_nodes())
    except Exception:
        logging.getLogger(__name__).debug("draining nodes are unknown", exc_info=True)
        return frozenset()


def has_autoscaler() -> bool:
    """Whether the connected cluster adds nodes on demand; True if that cannot be told."""
    try:
        if is_autoscaler_v2(fetch_from_server=True):
            return True
        report = json.loads(_internal_kv_get("__autoscaling_status") or "{}")
        kinds: dict[str, str] = report.get("autoscaler_report", {}).get("node_type_mapping") or {}
        # Without an autoscaler Ray reports every node as a type of its own.
        return any(kind != f"node_{node}" for node, kind in kinds.items())
    except Exception:
        logging.getLogger(__name__).debug("autoscaler is unknown", exc_info=True)
        return True
