"""Connect to a Ray cluster, or start one on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants

from nasi_ray.config import WorkerConfig
from nasi_ray.errors import ClusterError, ConfigError

_PROBE_S = 5.0
_CLUSTER_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


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
        ConfigError: If the address is malformed.
        ClusterError: If it is no cluster's or does not answer, or no Ray starts here.
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
        with _on_loopback(), _in_a_group_of_its_own():
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
        with _sigterm_kept():
            ray.shutdown()


@contextlib.contextmanager
def _sigterm_kept() -> Iterator[None]:
    # Ray's C++ core puts SIGTERM's default action back when it ends, behind Python's back: a
    # second SIGTERM would kill this process while Ray's own processes are being stopped. Closing
    # the state is what Ray does right after its core has ended.
    state: Any = ray._private.state.state
    disconnect = state.disconnect

    def rearm() -> None:
        _restore_sigterm(signal.getsignal(signal.SIGTERM))

    def disconnect_and_rearm() -> None:
        rearm()
        disconnect()

    state.disconnect = disconnect_and_rearm
    try:
        yield
    finally:
        del state.disconnect
        rearm()


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
        raise ConfigError(
            f"{address} is no cluster address; give host:port of the GCS (port 6379 by default), "
            "or run the command on the cluster with `ray job submit`"
        )
    host, _, port = address.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65_535:
        raise ConfigError(f"{address!r} is no cluster address; give host:port, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_S).close()
    except UnicodeError:  # no name at all: an empty label, or one that is too long
        raise ConfigError(f"{host!r} in {address!r} is no host name; give host:port") from None
    except OSError as error:
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


@contextlib.contextmanager
def _in_a_group_of_its_own() -> Iterator[None]:
    """Have a Ray that is started meanwhile in process groups other than this process's."""
    # A signal to our whole group (a closed terminal, a supervisor's stop) would end the raylet at
    # once, and Ray's core ends a driver that has lost its raylet: before it has stored or said
    # anything. The kernel still ends Ray's processes when this one dies.
    utils: Any = ray._private.utils
    services: Any = ray._private.services
    if not utils.detect_fate_sharing_support_linux():
        yield  # a process that reaps the group is all that would end them
        return
    popen = services.ConsolePopen
    services.ConsolePopen = partial(popen, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = popen


def _use_token() -> None:
    # Ray would make a token and leave it in ~/.ray, which later `ray start`s then insist on.
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    is_set = any(name in os.environ for name in names)
    if not is_set and not (Path.home() / ".ray" / "auth_token").exists():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _restore_sigterm(handler: Any) -> None:
    # ray.init puts its own handler in the place of the caller's, which is None if it is no Python
    # function.
    is_set = callable(handler) or isinstance(handler, signal.Handlers)
    if is_set and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
