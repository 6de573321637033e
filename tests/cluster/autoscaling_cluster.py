"""A job on a cluster that grows and shrinks, on one host: what happened, and when.

    python tests/cluster/autoscaling_cluster.py

Ray's own autoscaler (v2) starts raylets on this machine in the place of instances: ``gpu_spot``
first, then ``gpu_ondemand``, at most two of each with one logical GPU; for a search never
``train``, which three workers would fill but whose label keeps them off. The head has neither CPU
nor GPU. All of it lives in process, network and mount namespaces of its own: no other Ray is seen,
and nothing remains.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import logging
import os
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# Where Ray keeps its files by default; a file system of its own is mounted over it.
RAY_FOLDER = Path("/tmp/ray")
HEAD_ID = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
ADDRESS = "127.0.0.1:6379"
IDLE_S = 10.0
MARKET, USE = "ray.io/market-type", "nasi-ray/use"
NODE_TYPES = {
    "gpu_spot": {MARKET: "spot"},
    "gpu_ondemand": {MARKET: "on-demand"},
    "train": {MARKET: "on-demand", USE: "training"},
}
"""Their labels."""
SEARCH = (
    *("--preset", "nasi-fix"),
    *("--batch-size", "24", "--image-size", "20", "--init-channels", "8", "--num-cells", "4"),
)
_UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--mount")
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_MAX_S = 240.0
_NOTICE_S = 6.0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was seen."""

    seconds: float
    """Since the job was started."""
    what: str
    nodes: dict[str, int]
    """GPU nodes alive by type."""
    unix_s: float


def why_not_isolated() -> str | None:
    """Why namespaces cannot be made here; None if they can."""
    if shutil.which("unshare") is None:
        return "there is no unshare"
    tried = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True)
    return None if tried.returncode == 0 else f"unshare: {tried.stderr.strip()}"


def search_args(out: Path, num_samples: int) -> list[str]:
    """The command line of a search with three workers of one GPU each."""
    workers = ("--num-workers", "3", "--gpus-per-worker", "1", "--device", "cpu")
    records = ("--num-samples", str(num_samples), "--out", str(out))
    return ["search", *SEARCH, *workers, *records]


def run_isolated(args: Sequence[str], *, preempt_after: Path | None = None) -> list[Event]:
    """Run a job on a cluster that starts without a GPU node.

    Args:
        args: Of ``nasi-ray``; the run directory is outside of ``RAY_FOLDER``.
        preempt_after: Once this file exists, the machine for trainings is drained, and then lost.

    Returns:
        What happened, in order of time.

    Raises:
        RuntimeError: If the cluster or the job failed; with their last lines.
    """
    RAY_FOLDER.mkdir(exist_ok=True)
    command = [sys.executable, str(Path(__file__).resolve()), "--inside"]
    done = subprocess.run(
        [*_UNSHARE, *command, str(preempt_after or ""), *args],
        capture_output=True,
        text=True,
        cwd=ROOT,
        # Ray reads its variables when it is imported.
        env={k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        | {
            "HOME": str(RAY_FOLDER / "home"),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
        },
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-4000:])
    return [Event(**json.loads(line)) for line in done.stdout.splitlines() if line[:1] == "{"]


def _isolate() -> None:
    """Bring loopback up and give Ray an empty folder, within the namespaces."""
    with socket.socket() as probe:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(probe, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", str(RAY_FOLDER).encode(), b"tmpfs", 0, None) != 0:
        raise OSError(ctypes.get_errno(), f"cannot mount over {RAY_FOLDER}")


def _gpu_type(name: str, priority: int, gpus: int = 1) -> dict[str, Any]:
    return {
        "resources": {"CPU": gpus, "GPU": gpus, "object_store_memory": 80 * 2**20},
        "labels": NODE_TYPES[name],
        "priority": priority,
        "min_workers": 0,
        "max_workers": 2,
        "idle_timeout_s": IDLE_S,
        "node_config": {},
    }


def _config() -> dict[str, Any]:
    return {
        "cluster_name": "autoscaling",
        "max_workers": 4,
        "idle_timeout_minutes": 1,
        "upscaling_speed": 4,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "head_node_id": HEAD_ID,
        },
        "available_node_types": {
            "ray.head.default": {
                "resources": {"CPU": 0, "GPU": 0},
                "node_config": {},
                "max_workers": 0,
            },
            "gpu_spot": _gpu_type("gpu_spot", 10),
            "gpu_ondemand": _gpu_type("gpu_ondemand", 0),
            "train": _gpu_type("train", -10, gpus=3),
        },
        "head_node_type": "ray.head.default",
        "auth": {"ssh_user": "nobody"},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
    }


@contextlib.contextmanager
def _head() -> Iterator[None]:
    config = RAY_FOLDER / "autoscaling.json"
    config.write_text(json.dumps(_config()))
    changes = {
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
    }
    flags = ["--num-cpus=0", "--num-gpus=0", f"--object-store-memory={80 * 2**20}", "--port=6379"]
    script = "from ray.scripts.scripts import main; main()"
    start = ["start", "--head", "--block", f"--autoscaling-config={config}", *flags]
    with (RAY_FOLDER / "head.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", script, *start],
            env={**os.environ, **changes},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(_accepts, _MAX_S, "the head")
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)


def _accepts() -> bool:
    host, port = ADDRESS.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def _wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.2)


def _gpu_nodes() -> dict[str, int]:
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    alive = [node["Labels"] for node in nodes if node["Alive"]]
    kinds = Counter((labels.get(MARKET), labels.get(USE)) for labels in alive)
    return {name: kinds[labels[MARKET], labels.get(USE)] for name, labels in NODE_TYPES.items()}


class _Chronicle:
    """Prints an event whenever the nodes have changed."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._last = dict.fromkeys(NODE_TYPES, 0)

    def note(self, what: str) -> None:
        event = Event(round(time.monotonic() - self._start, 1), what, self._last, time.time())
        sys.stdout.write(json.dumps(asdict(event)) + "\n")
        sys.stdout.flush()

    def look(self) -> bool:
        """Note what has changed.

        Returns:
            Whether no GPU node is there.
        """
        nodes = _gpu_nodes()
        if nodes != self._last:
            self._last = nodes
            self.note("nodes")
        return not any(nodes.values())


def _preempt_training_node() -> None:
    """Announce the end of the node for trainings as the spot watcher does, then kill its raylet."""
    import psutil

    from nasi_ray.cluster.spot_watcher import Notice, drain_node

    notice = Notice(action="terminate", end_s=time.time() + _NOTICE_S)
    drain_node(ADDRESS, "127.0.0.1", notice)  # the head is left out
    (raylet,) = (
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] == "raylet" and "training" in str(process.info["cmdline"])
    )
    time.sleep(_NOTICE_S)
    raylet.kill()


def _run_inside(preempt_after: str, args: Sequence[str]) -> None:
    import ray

    _isolate()
    (RAY_FOLDER / "home").mkdir()
    with _head():
        ray.init(ADDRESS, log_to_driver=False, logging_level=logging.ERROR)
        chronicle = _Chronicle()
        if not chronicle.look():
            raise RuntimeError("there is a GPU node before anybody asked for one")
        chronicle.note("job started")
        log = RAY_FOLDER / "job.log"
        with log.open("wb") as file:
            job = subprocess.Popen(
                [sys.executable, "-m", "nasi_ray", *args, "--address", ADDRESS],
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=file,
            )
        while job.poll() is None:
            chronicle.look()
            if preempt_after and Path(preempt_after).exists():
                preempt_after = ""
                _preempt_training_node()
                chronicle.note("node lost")
            time.sleep(0.2)
        text = log.read_text()
        sys.stderr.write(text)
        for line in text.splitlines():
            if line.startswith("continues at"):
                chronicle.note(line)
        chronicle.note(f"job ended with status {job.returncode}")
        _wait_for(chronicle.look, _MAX_S, "the GPU nodes to go")
        ray.shutdown()


def main() -> None:
    """Run a search, print a line per event."""
    if sys.argv[1:2] == ["--inside"]:
        _run_inside(sys.argv[2], sys.argv[3:])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", default="")
    parser.add_argument("--num-samples", type=int, default=60)
    args = parser.parse_args()
    if reason := why_not_isolated():
        sys.exit(f"error: {reason}")
    with tempfile.TemporaryDirectory() as folder:
        for event in run_isolated(search_args(Path(args.out or folder), args.num_samples)):
            nodes = ", ".join(f"{num} {kind}" for kind, num in event.nodes.items())
            sys.stdout.write(f"{event.seconds:6.1f} s  {nodes}  {event.what}\n")


if __name__ == "__main__":
    main()
