"""Connect to a Ray cluster, or start one on this machine, and plan the workers it can hold."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.experimental.internal_kv import _internal_kv_get

from nasi_ray.config import WorkerConfig
from nasi_ray.errors import ClusterError, NoCapacityError

Resources = Mapping[str, float]
"""Resource name -> amount of one node, as Ray counts them: ``CPU``, ``GPU``, ..."""

_PROBE_S = 5.0
_CAPACITY_S = 120.0
# A spot GPU may be offered late, and its machine boots and pulls an image of gigabytes.
_AUTOSCALER_CAPACITY_S = 1800.0
_ROUNDING = 1e-6
_CLUSTER_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerPlan:
    """How many workers to have, and what each one asks for."""

    num_workers: int
    """Workers to ask for (≥ 1); what does not fit now stays pending."""
    cpus_per_worker: int
    gpus_per_worker: float

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
        nodes: Total resources of each node that is alive.
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
    )
    if slots == 0 and not has_autoscaler:
        raise NoCapacityError(
            f"a worker asks for {plan.request} and no node has that; the cluster has "
            f"{describe_nodes(nodes)}: lower gpus_per_worker or threads_per_worker, or add a node"
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


def describe_nodes(nodes: Sequence[Resources]) -> str:
    """The cluster in a few words, largest first: ``2 × (8 CPU, 1 GPU), 1 × (4 CPU, 0 GPU)``."""
    kinds: dict[tuple[float, float], int] = {}
    for node in nodes:
        kind = (node.get("CPU", 0.0), node.get("GPU", 0.0))
        kinds[kind] = kinds.get(kind, 0) + 1
    words = [
        f"{num} × ({cpus:g} CPU, {gpus:g} GPU)"
        for (cpus, gpus), num in sorted(kinds.items(), reverse=True)
    ]
    return ", ".join(words) or "no nodes"


def live_nodes() -> list[Resources]:
    """Total resources of each node that is alive and not being drained."""
    draining = draining_nodes()
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"] for node in nodes if node["Alive"] and node["NodeID"] not in draining]


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


@contextlib.contextmanager
def connect(
    address: str | None, workers: WorkerConfig, *, has_dashboard: bool = False
) -> Iterator[None]:
    """Have Ray connected while the context is open; on exit shut down only what was started here.

    Args:
        address: ``host:port`` of a cluster's GCS, or ``auto`` for one running on this machine;
            None: the environment's RAY_ADDRESS, else a Ray of our own on this machine. A Ray that
            is connected already is used as it is.
        workers: What will be asked for; a Ray of our own gets CPUs enough for it, never GPUs that
            are not there.
        has_dashboard: Serve Ray's dashboard from a Ray of our own.

    Raises:
        ClusterError: If the address is no cluster's or does not answer.
    """
    if ray.is_initialized():
        yield
        return
    given = address or os.environ.get("RAY_ADDRESS") or "local"
    handler = signal.getsignal(signal.SIGTERM)
    with _raylets_logged(), _shut_down_at_last():
        if given == "local":
            _start(workers, has_dashboard)
        else:
            _join(given)
        _restore_sigterm(handler)
        yield


def _start(workers: WorkerConfig, has_dashboard: bool) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _use_token()
    num_cpus = None
    if workers.num_workers != "auto":
        num_cpus = max(os.cpu_count() or 1, workers.num_workers * workers.threads_per_worker)
    try:
        with _on_loopback():
            ray.init("local", num_cpus=num_cpus, include_dashboard=has_dashboard, **_quiet())
    except (RuntimeError, ConnectionError, OSError, ValueError) as error:
        raise ClusterError(f"Ray did not start on this machine: {_first_line(error)}") from error


def _join(address: str) -> None:
    _probe(address)
    try:
        ray.init(address, **_quiet())
    except (RuntimeError, ConnectionError, OSError, ValueError) as error:
        raise ClusterError(f"no Ray cluster at {address}: {_first_line(error)}") from error


@contextlib.contextmanager
def _shut_down_at_last() -> Iterator[None]:
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _raylets_logged() -> Iterator[None]:
    # When a node or worker is lost Ray prints pages of raylet logs, coloured, on standard output,
    # with log_to_driver=False too. The pool says in its own words what was lost.
    worker: Any = ray._private.worker
    printer = getattr(worker, "print_to_stdstream", None)

    def log(data: Mapping[str, Any], *_: object, **__: object) -> None:
        logging.getLogger(__name__).debug("%s: %s", data.get("pid"), data.get("lines"))

    if printer is not None:
        worker.print_to_stdstream = log
    try:
        yield
    finally:
        if printer is not None:
            worker.print_to_stdstream = printer


def _quiet() -> dict[str, Any]:
    return {"log_to_driver": False, "logging_level": logging.ERROR}


def _probe(address: str) -> None:
    # Ray itself tries for two minutes, prints warnings all the while, and then ends the process.
    if address == "auto":
        return
    if "://" in address:
        raise ClusterError(
            f"{address} is no cluster address; give host:port of the GCS (port 6379 by default), "
            "or run the command on the cluster with `ray job submit`"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(f"{address!r} is no cluster address; give host:port, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({_first_line(error)}); check the address and "
            "that the cluster is up, or unset RAY_ADDRESS to run on this machine"
        ) from error


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Have a Ray that is started meanwhile listen on loopback only, as on macOS and Windows."""
    # On Linux, Ray turns a 127.0.0.1 that it is told into the machine's address. The processes it
    # starts read the variable; this one has, when Ray was imported.
    variable, constant = os.environ.get(_CLUSTER_VARIABLE), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[_CLUSTER_VARIABLE] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        del os.environ[_CLUSTER_VARIABLE]
        if variable is not None:
            os.environ[_CLUSTER_VARIABLE] = variable
        ray_constants.ENABLE_RAY_CLUSTER = constant


def _use_token() -> None:
    # Ray would make a token and leave it in ~/.ray, which later `ray start`s then insist on.
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    is_set = any(name in os.environ for name in names)
    if not is_set and not (Path.home() / ".ray" / "auth_token").exists():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _restore_sigterm(handler: Any) -> None:
    # ray.init puts its own handler in the place of the caller's.
    if callable(handler) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
