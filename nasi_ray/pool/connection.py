"""Connects to a Ray cluster, or starts Ray on this machine."""

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
from typing import Any

import grpc
import ray
from ray._private import ray_constants
from ray._private.grpc_utils import init_grpc_channel
from ray._private.services import canonicalize_bootstrap_address
from ray.core.generated.gcs_service_pb2 import CheckAliveRequest  # type: ignore[attr-defined]
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

from nasi_ray.config import ComputeSettings
from nasi_ray.errors import ClusterError, ClusterRefusedError, ConfigError
from nasi_ray.pool.temp_dir import delete_temp_dir, keep_temp_dir, make_temp_dir

_PROBE_S = 5.0
_ANSWER_S = 10.0
_CLUSTER_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def is_connected() -> bool:
    """Whether this process is connected to Ray."""
    return bool(ray.is_initialized())


@contextlib.contextmanager
def connect(
    address: str | None, workers: ComputeSettings, *, has_dashboard: bool = False
) -> Iterator[None]:
    """Keep Ray connected while the context is open.

    If Ray is connected already, nothing happens, neither now nor at the end.

    Args:
        address: ``host:port`` of a cluster's GCS, or ``auto`` for a cluster that runs on this
            machine; None: RAY_ADDRESS, or if that is not set a local Ray, started here and shut
            down at the end.
        workers: The workers that will be requested; a local Ray gets enough CPUs for them, but
            only the GPUs that exist.
        has_dashboard: Whether a local Ray serves its dashboard.

    Raises:
        ConfigError: If the address is malformed.
        ClusterError: If no cluster answers at the address, or no local Ray starts.
        ClusterRefusedError: If the cluster refuses the token, or a local Ray cannot have its files
            where ``RAY_TMPDIR`` or ``TMPDIR`` says.
    """
    if ray.is_initialized():
        yield
        return
    given = address or os.environ.get("RAY_ADDRESS") or "local"
    handler = signal.getsignal(signal.SIGTERM)
    with _raylet_output_logged(), contextlib.ExitStack() as at_end, _shut_down_at_end():
        if given != "local":
            _join(given)
        else:
            temp_dir = make_temp_dir()
            at_end.callback(delete_temp_dir, temp_dir)
            try:
                _start(workers, has_dashboard, temp_dir)
            except ClusterError:
                at_end.pop_all()
                keep_temp_dir(temp_dir)  # the error names the logs in it
                raise
        _restore_sigterm(handler)
        yield


def dead_process() -> str | None:
    """Which process of a Ray started here has died though all need it; None if none has.

    Ray ends the driver at its next use of the raylet's memory, or a minute after the GCS died.
    """
    node: Any = ray._private.worker._global_node
    dead = {kind for kind, _ in node.dead_processes()} if node else set()
    return next((kind for kind in ("raylet", "gcs_server") if kind in dead), None)


def _start(workers: ComputeSettings, has_dashboard: bool, temp_dir: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _use_token()
    num_cpus = None
    if workers.num_workers != "auto":
        num_cpus = max(os.cpu_count() or 1, workers.num_workers * workers.threads_per_worker)
    try:
        with _on_loopback(), _in_own_process_group(), _without_rays_sigterm():
            ray.init(
                "local",
                num_cpus=num_cpus,
                include_dashboard=has_dashboard,
                _temp_dir=temp_dir,
                **_quiet(),
            )
    except Exception as error:  # Ray raises that class itself
        raise ClusterError(
            f"Ray did not start on this machine: {_first_line(error)}; see the logs in "
            f"{temp_dir}/session_latest/logs, or try again"
        ) from error


def _join(given: str) -> None:
    address = _find(given)
    _probe(address)
    _ask(address)
    try:
        with _without_rays_sigterm():
            ray.init(address, **_quiet())
    except Exception as error:  # Ray raises that class itself
        raise ClusterError(
            f"cannot join the Ray cluster at {address}: {_first_line(error)}; check that it has "
            "the same versions of Ray and Python as this machine"
        ) from error


def _find(given: str) -> str:
    if given != "auto":
        return given
    advice = (
        "start one with `ray start --head`, give --address host:port, or leave it out to start Ray "
        "for this command"
    )
    try:
        address = canonicalize_bootstrap_address("auto")
    except Exception as error:
        raise ClusterError(
            f"no Ray runs on this machine: {_first_line(error)}; {advice}"
        ) from error
    if not address:
        raise ClusterError(f"no Ray runs on this machine; {advice}")
    return address


@contextlib.contextmanager
def _shut_down_at_end() -> Iterator[None]:
    try:
        yield
    finally:
        with _sigterm_kept():
            ray.shutdown()


@contextlib.contextmanager
def _sigterm_kept() -> Iterator[None]:
    # When Ray's C++ core ends it restores SIGTERM's default action, unnoticed by Python: a second
    # SIGTERM would kill this process while Ray's own processes are being stopped. Ray closes the
    # state right after its core has ended.
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
def _raylet_output_logged() -> Iterator[None]:
    # When a node or worker is lost, Ray prints pages of coloured raylet logs on standard output,
    # even with log_to_driver=False. The pool reports the loss itself.
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
    # Ray itself would try for two minutes, print warnings, and then end the process.
    if "://" in address:
        raise ConfigError(
            f"{address} is not a cluster address; give host:port of the GCS (the default port is "
            "6379), or run the command on the cluster with `ray job submit`"
        )
    host, _, port = address.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65_535:
        raise ConfigError(f"{address!r} is not a cluster address; give host:port, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_S).close()
    except UnicodeError:  # an empty label, or one that is too long
        raise ConfigError(f"{host!r} in {address!r} is not a host name; give host:port") from None
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({_first_line(error)}); check the address and "
            "that the cluster is up, or unset RAY_ADDRESS to run on this machine"
        ) from error


def _ask(address: str) -> None:
    """Make sure that a GCS answers; Ray itself would wait for anything else without an end."""
    try:
        channel = init_grpc_channel(address)
    except Exception as error:  # no token, no certificate, ...
        raise ClusterRefusedError(
            f"cannot ask the Ray cluster at {address}: {_first_line(error)}; correct the RAY_AUTH_ "
            "and RAY_TLS_ variables"
        ) from error
    try:
        stub: Any = NodeInfoGcsServiceStub(channel)  # type: ignore[no-untyped-call]
        stub.CheckAlive(CheckAliveRequest(), timeout=_ANSWER_S)
    except grpc.RpcError as error:
        code = error.code()
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            raise ClusterRefusedError(
                f"the Ray cluster at {address} refuses the token; set RAY_AUTH_MODE=token and "
                "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's"
            ) from error
        raise ClusterError(
            f"what answers at {address} is not a Ray cluster ({code.name}); give the host:port of "
            "a cluster's GCS (the default port is 6379), or unset RAY_ADDRESS to run on this "
            "machine"
        ) from error
    finally:
        channel.close()


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Make a Ray started in this context listen on loopback only, as on macOS and Windows."""
    # On Linux, Ray replaces a given 127.0.0.1 by the machine's address. The processes it starts
    # read the variable; this process read it when it imported Ray.
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
def _in_own_process_group() -> Iterator[None]:
    """Put the processes of a Ray started in this context into other groups than this process's."""
    # A signal to our whole group (a closed terminal, a supervisor's stop) would end the raylet at
    # once. Ray's core then ends the driver, too, before it has stored or reported anything. The
    # kernel still ends Ray's processes when this one dies.
    utils: Any = ray._private.utils
    services: Any = ray._private.services
    if not utils.detect_fate_sharing_support_linux():
        yield  # here Ray ends its processes through their group
        return
    popen = services.ConsolePopen
    services.ConsolePopen = partial(popen, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = popen


@contextlib.contextmanager
def _without_rays_sigterm() -> Iterator[None]:
    """Keep this process's handler of SIGTERM while Ray starts in this context."""
    # Ray's own ends the process with status 15 and without a word.
    utils: Any = ray._private.utils
    install = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = install


def _use_token() -> None:
    # Ray would create a token in ~/.ray, which every later `ray start` would then require.
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    is_set = any(name in os.environ for name in names)
    # Unlike Path.home(), this works for a user without a home directory.
    if not is_set and not os.path.exists(os.path.expanduser("~/.ray/auth_token")):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _restore_sigterm(handler: Any) -> None:
    # Ray's C++ core puts one before the caller's that prints a stack. The caller's is None if it is
    # not a Python function.
    is_set = callable(handler) or isinstance(handler, signal.Handlers)
    if is_set and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
