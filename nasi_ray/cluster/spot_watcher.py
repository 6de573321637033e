"""``nasi-ray cluster watch-spot``: drain this node before AWS takes the spot instance back.

    python -m nasi_ray.cluster.spot_watcher --address=$RAY_HEAD_IP:6379

AWS gives two minutes' notice, and Ray's cluster launcher does not look at these notices. The
watcher asks the instance metadata service (IMDSv2) every few seconds. On a notice it has Ray's GCS
drain the node, as ``ray drain-node`` does: the node gets no new work, and its losses count as
preemptions. It ends by itself on instances that are not spot. But for its lock file and its
log, only the standard library is imported, and Ray once there is a notice.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import logging
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any

from nasi_ray.display.formats import escaped
from nasi_ray.errors import StorageRefusedError
from nasi_ray.storage.lock_file import open_lock_file

_LOG = logging.getLogger("spot_watcher")

IMDS = "http://169.254.169.254"
POLL_S = 5.0
_TIMEOUT_S = 2.0
_TOKEN_TTL_S = 21600
_WARNING_S = 120.0
"""What AWS gives between notice and end."""

Drain = Callable[["Notice"], None]


class _Line(logging.Formatter):
    """A record on one line, whatever the metadata service or Ray says in it."""

    def format(self, record: logging.LogRecord) -> str:
        return escaped(super().format(record))


class MetadataError(Exception):
    """The metadata service did not answer, or not with a value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """An announced interruption."""

    action: str
    """``terminate``, ``stop`` or ``hibernate``."""
    end_s: float
    """When it happens, in seconds since the epoch."""


class Metadata:
    """The instance metadata service, version 2: each request carries a session token."""

    def __init__(self, url: str = IMDS, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._token = ""
        # The service is on the machine: a proxy of the environment must not be asked for it.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str) -> str | None:
        """A value below ``/latest/meta-data``; None if there is none (404).

        Raises:
            MetadataError: If the service cannot be reached or refuses.
        """
        for _ in range(2):
            try:
                return self._request(
                    "GET",
                    f"/latest/meta-data/{path}",
                    {"X-aws-ec2-metadata-token": self._token or self._new_token()},
                )
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return None
                if error.code != 401:
                    raise MetadataError(f"{path}: HTTP {error.code}") from error
                self._token = ""  # it expired, or the service restarted
            except (OSError, HTTPException, ValueError) as error:
                raise MetadataError(f"{path}: {error}") from error
        raise MetadataError(f"{path}: a new token was refused too")

    def _new_token(self) -> str:
        ttl = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_TTL_S)}
        try:
            self._token = self._request("PUT", "/latest/api/token", ttl)
        except urllib.error.HTTPError as error:
            raise MetadataError(f"no token: HTTP {error.code}") from error
        return self._token

    def _request(self, method: str, path: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(self._url + path, method=method, headers=headers)
        with self._opener.open(request, timeout=self._timeout_s) as response:
            return str(response.read().decode("utf-8"))


def parse_notice(text: str, *, now_s: float) -> Notice:
    """Read ``spot/instance-action``; what cannot be read counts as an end in two minutes.

    Args:
        text: Such as ``{"action": "terminate", "time": "2026-01-01T00:02:00Z"}``.
        now_s: Present time, in seconds since the epoch.
    """
    action, end_s = "terminate", now_s + _WARNING_S
    with contextlib.suppress(ValueError, TypeError, KeyError):
        content = json.loads(text)
        action = str(content["action"])
        end = datetime.strptime(content["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        end_s = end.timestamp()
    return Notice(action=action, end_s=end_s)


def watch(
    metadata: Metadata,
    drain: Drain,
    *,
    poll_s: float = POLL_S,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> bool:
    """Wait for a notice and drain the node; failures of either are logged and retried.

    Args:
        metadata: Where to ask.
        drain: Drains the node; raises any exception if it cannot.
        poll_s: Seconds between questions; AWS advises 5.
        sleep: Replaces ``time.sleep``.
        clock: Replaces ``time.time``.

    Returns:
        True once the node is draining, False if it is not a spot instance.
    """
    logged = _Logged()
    is_spot = False
    while True:
        try:
            if not is_spot:
                life_cycle = metadata.get("instance-life-cycle")
                if life_cycle not in ("spot", None):
                    _LOG.info("nothing to watch: the instance is %s", life_cycle)
                    return False
                is_spot = True
            _log_rebalance(metadata, logged)
            text = metadata.get("spot/instance-action")
            logged.error = ""
        except MetadataError as error:
            _log_error(str(error), logged)
            text = None
        if text is not None and _drained(parse_notice(text, now_s=clock()), drain):
            return True
        sleep(poll_s)


@dataclass(slots=True)
class _Logged:
    """What was logged already, so that a log of hours stays short."""

    error: str = ""
    rebalance: str = ""


def _log_error(error: str, logged: _Logged) -> None:
    if error != logged.error:
        _LOG.warning("metadata: %s; asking again", error)
        logged.error = error


def _log_rebalance(metadata: Metadata, logged: _Logged) -> None:
    """Only log it: a higher risk of interruption is not yet a reason to give up the node."""
    text = metadata.get("events/recommendations/rebalance")
    if text is not None and text != logged.rebalance:
        _LOG.info("rebalance recommendation: %s", text.strip())
        logged.rebalance = text


def _drained(notice: Notice, drain: Drain) -> bool:
    when = datetime.fromtimestamp(notice.end_s, UTC).strftime("%H:%M:%S UTC")
    try:
        drain(notice)
    except Exception as error:
        _LOG.warning("%s at %s, but the node is not drained: %s", notice.action, when, error)
        return False
    _LOG.warning("%s at %s: draining the node", notice.action, when)
    return True


def drain_node(address: str, instance_id: str, notice: Notice) -> None:
    """Have the GCS at ``address`` drain the node that runs on an instance.

    Args:
        address: ``host:port`` of the GCS.
        instance_id: EC2 instance, as Ray knows it, or the node's IP address.
        notice: Why and until when.

    Raises:
        LookupError: If no live worker node runs there.
        RuntimeError: If the GCS refuses.
    """
    from ray import _raylet
    from ray.core.generated import autoscaler_pb2, gcs_pb2

    # All three are made by compilers, without types.
    raylet: Any = _raylet
    gcs: Any = gcs_pb2
    autoscaler: Any = autoscaler_pb2
    client = raylet.GcsClient(address=address)
    for node_id, node in client.get_all_node_info().items():
        is_here = instance_id in (node.instance_id, node.node_manager_address)
        if is_here and node.state == gcs.GcsNodeInfo.ALIVE and not node.is_head_node:
            is_accepted, why = client.drain_node(
                node_id.hex(),
                autoscaler.DRAIN_NODE_REASON_PREEMPTION,
                f"spot instance {instance_id}: {notice.action}",
                int(max(notice.end_s, time.time() + 1.0) * 1000),
            )
            if not is_accepted:
                raise RuntimeError(why)
            return
    raise LookupError(f"no live worker node on {instance_id} at {address}")


@contextlib.contextmanager
def only_one(path: str) -> Iterator[bool]:
    """Hold a lock file; yields False if another watcher holds it.

    Raises:
        StorageRefusedError: If it is a link or no regular file of one name.
    """
    with os.fdopen(open_lock_file(path)) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def main(argv: Sequence[str]) -> int:
    """Watch until the node is draining or turns out not to be spot.

    Args:
        argv: Arguments without the program's name.

    Returns:
        Exit status: 0, or 1 if the lock file is one that must not be written to.
    """
    parser = argparse.ArgumentParser(
        prog="nasi-ray cluster watch-spot", description="Drain this node on a spot notice."
    )
    parser.add_argument("--address", required=True, help="host:port of the GCS")
    parser.add_argument(
        "--metadata-url", default=IMDS, help=f"address of the instance metadata service [{IMDS}]"
    )
    parser.add_argument(
        "--poll-s", type=float, default=POLL_S, help=f"seconds between two checks [{POLL_S:g}]"
    )
    parser.add_argument(
        "--lock", default="/tmp/nasi_spot_watcher.lock", help="lock file: one watcher per node"
    )
    args = parser.parse_args(argv)
    handler = logging.StreamHandler()
    handler.setFormatter(_Line("%(asctime)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    metadata = Metadata(args.metadata_url)

    def drain(notice: Notice) -> None:
        # Ray's launcher sets it for Ray and for the commands that it runs.
        instance_id = os.environ.get("RAY_CLOUD_INSTANCE_ID") or metadata.get("local-ipv4")
        if not instance_id:
            raise LookupError("neither RAY_CLOUD_INSTANCE_ID nor local-ipv4 names the node")
        drain_node(args.address, instance_id, notice)

    try:
        with only_one(args.lock) as is_only:
            if is_only:
                watch(metadata, drain, poll_s=args.poll_s)
            else:
                _LOG.info("another watcher runs on this node")
    except StorageRefusedError as error:
        _LOG.error("%s; or give another --lock", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
