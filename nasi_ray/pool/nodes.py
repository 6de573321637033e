"""The nodes of the connected Ray cluster, and the workers planned for them."""

from __future__ import annotations

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.experimental.internal_kv import _internal_kv_get

from nasi_ray.config import ComputeSettings, labels_of
from nasi_ray.errors import NoCapacityError

Resources = Mapping[str, float]
"""Resource name -> amount on one node, as Ray counts them: ``CPU``, ``GPU``, ..."""

_CAPACITY_S = 120.0
# A spot GPU may become available late, and its machine has to boot and pull a large image.
_AUTOSCALER_CAPACITY_S = 1800.0
_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerPlan:
    """How many workers to have, and what each one needs."""

    num_workers: int
    """Workers to request (≥ 1); those that do not fit now wait for room."""
    cpus_per_worker: int
    gpus_per_worker: float
    labels: Mapping[str, str]
    """Label -> condition of the nodes that workers may run on."""
    is_auto: bool
    """Whether the number of workers follows the size of the cluster."""
    capacity_timeout_s: float
    """How long to wait with no worker at all before giving up, in seconds."""

    @property
    def request(self) -> str:
        """What one worker needs, for people: ``1 CPU and 0.5 GPU``."""
        gpus = f" and {self.gpus_per_worker:g} GPU" if self.gpus_per_worker else ""
        return f"{self.cpus_per_worker} CPU{gpus}"


def plan_for(config: ComputeSettings) -> WorkerPlan:
    """Plan the workers for the nodes that the connected cluster has now.

    ``auto`` means one worker per GPU where there are GPUs (⌊1/f⌋ per GPU if a worker needs a
    fraction f), else one per ``threads_per_worker`` CPUs. With an autoscaler, ``auto`` uses the
    nodes that exist, and requests one worker if there are none; only an explicit ``num_workers``
    makes the cluster grow further.

    Args:
        config: What the user asked for; not 0 workers.

    Raises:
        NoCapacityError: If no node can ever hold a worker.
    """
    labels = labels_of(config.label_selector)
    return _plan(config, labels, live_nodes(labels), can_grow=has_autoscaler())


def _plan(
    config: ComputeSettings,
    labels: Mapping[str, str],
    nodes: Sequence[Resources],
    *,
    can_grow: bool,
) -> WorkerPlan:
    gpus: float
    if config.gpus_per_worker == "auto":
        gpus = 1.0 if any(node.get("GPU", 0.0) >= 1.0 for node in nodes) else 0.0
    else:
        gpus = float(config.gpus_per_worker)
    slots = _count_slots(nodes, config.threads_per_worker, gpus)
    timeout_s = _AUTOSCALER_CAPACITY_S if can_grow else _CAPACITY_S
    if config.capacity_timeout_s != "auto":
        timeout_s = config.capacity_timeout_s
    plan = WorkerPlan(
        num_workers=max(1, slots if config.num_workers == "auto" else config.num_workers),
        cpus_per_worker=config.threads_per_worker,
        gpus_per_worker=gpus,
        labels=labels,
        is_auto=config.num_workers == "auto",
        capacity_timeout_s=timeout_s,
    )
    if slots == 0 and not can_grow:
        raise NoCapacityError(
            f"no node can hold a worker, which needs {plan.request}; the cluster has "
            f"{_describe(nodes, labels)}: lower gpus_per_worker or threads_per_worker, "
            "change label_selector, or add a node"
        )
    return plan


def num_workers_that_fit(plan: WorkerPlan) -> int:
    """How many workers of a plan the live nodes hold when they are empty."""
    return room_for(plan.cpus_per_worker, plan.gpus_per_worker, plan.labels)


def room_for(cpus: float, gpus: float, labels: Mapping[str, str]) -> int:
    """How many workers that need so much the live nodes with these labels hold, when empty."""
    return _count_slots(live_nodes(labels), cpus, gpus)


def _count_slots(nodes: Sequence[Resources], cpus: float, gpus: float) -> int:
    return sum(_slots(node, cpus, gpus) for node in nodes)


def _slots(node: Resources, cpus: float, gpus: float) -> int:
    slots = math.floor(node.get("CPU", 0.0) / cpus + _ROUNDING)
    if gpus >= 1:
        slots = min(slots, math.floor(node.get("GPU", 0.0) / gpus + _ROUNDING))
    elif gpus > 0:
        # Ray never splits a request over two GPUs: with 0.3 a tenth of each GPU stays unused.
        per_gpu = math.floor(1.0 / gpus + _ROUNDING)
        slots = min(slots, math.floor(node.get("GPU", 0.0) + _ROUNDING) * per_gpu)
    return slots


def describe_nodes(labels: Mapping[str, str]) -> str:
    """The live nodes, largest first: ``2 × (8 CPU, 1 GPU), 1 × (4 CPU, 0 GPU) with labels a=b``.

    Args:
        labels: Label -> condition; nodes that do not meet all are left out.
    """
    return _describe(live_nodes(labels), labels)


def _describe(nodes: Sequence[Resources], labels: Mapping[str, str]) -> str:
    sizes = Counter((node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes)
    parts = [
        f"{num} × ({cpus:g} CPU, {gpus:g} GPU)"
        for (cpus, gpus), num in sorted(sizes.items(), reverse=True)
    ]
    conditions = ",".join(f"{key}={value}" for key, value in labels.items())
    return (", ".join(parts) or "no nodes") + (f" with labels {conditions}" if conditions else "")


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
    """Whether a node's labels meet all conditions of a label selector, by Ray's rules.

    Args:
        labels: The node's labels.
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
    """Ids (hex) of the nodes being drained; empty if this Ray does not report them."""
    try:
        return frozenset(ray._private.state.state.get_draining_nodes())
    except Exception:
        logging.getLogger(__name__).debug("cannot list draining nodes", exc_info=True)
        return frozenset()


def has_autoscaler() -> bool:
    """Whether the connected cluster adds nodes on demand; True if that is unknown."""
    try:
        if is_autoscaler_v2(fetch_from_server=True):
            return True
        report = json.loads(_internal_kv_get("__autoscaling_status") or "{}")
        kinds: dict[str, str] = report.get("autoscaler_report", {}).get("node_type_mapping") or {}
        # Without an autoscaler Ray reports each node as its own type.
        return any(kind != f"node_{node}" for node, kind in kinds.items())
    except Exception:
        logging.getLogger(__name__).debug(
            "cannot tell whether there is an autoscaler", exc_info=True
        )
        return True
