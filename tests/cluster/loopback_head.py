"""A Ray head on loopback with a token, and a Python to run it that has all but the project."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import site
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_START_S = 90.0
_STOP_S = 10.0
"""Two are enough, but not where Ray Train has left an actor of its own behind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """A running head."""

    python: Path
    """Interpreter of the cluster: it does not have the project installed."""
    address: str
    """URL of the job API."""
    home: Path
    """Home directory of the cluster and its clients."""
    token: str
    pid: int
    """Of `ray start --block`, whose descendants the cluster's processes are."""
    session_dir: Path
    """Where Ray unpacks working directories and writes logs."""

    def environ(self, **changes: str) -> dict[str, str]:
        """Environment of a client of this head: no other Ray's address or token is in it."""
        return {**_environ(self.python, self.home, self.token), **changes}


def free_ports(num: int) -> list[int]:
    """Ports on loopback that nothing listens on just now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(num)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def make_bare_python(folder: Path) -> Path:
    """Make a virtual environment that has this one's packages, except the project.

    Args:
        folder: Where; made.

    Returns:
        Its interpreter.
    """
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for source in Path(site.getsitepackages()[0]).iterdir():
        if "nasi_ray" not in source.name and not source.name.startswith("__editable__"):
            (packages / source.name).symlink_to(source)
    return folder / "bin" / "python"


@contextlib.contextmanager
def loopback_head(*, num_cpus: int = 2, labels: str = "") -> Iterator[Head]:
    """A head that is up while the context is open; nothing outside its own folder is touched.

    Args:
        num_cpus: Logical CPUs.
        labels: Of its node, ``KEY=VALUE,...``.
    """
    # Ray's sockets need short paths.
    folder = Path(tempfile.mkdtemp(prefix="nasi-"))
    python = make_bare_python(folder / "venv")
    home = folder / "home"
    home.mkdir()
    token = secrets.token_hex(32)
    with (folder / "head.log").open("wb") as log:
        address, command = _start_command(folder, num_cpus, labels)
        process = subprocess.Popen(
            [python, "-c", "from ray.scripts.scripts import main; main()", *command],
            env=_environ(python, home, token),
            cwd=home,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_up(process, address, folder / "head.log")
        yield Head(
            python=python,
            address=address,
            home=home,
            token=token,
            pid=process.pid,
            session_dir=folder / "ray" / "session_latest",
        )
    finally:
        _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _environ(python: Path, home: Path, token: str) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHON"))}
    return env | {
        "HOME": str(home),
        "PATH": f"{python.parent}:{env['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        # As on macOS: else Ray turns 127.0.0.1 into the machine's address.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }


def _start_command(folder: Path, num_cpus: int, labels: str) -> tuple[str, list[str]]:
    gcs, dashboard, agent, client = free_ports(4)
    options = {
        "port": gcs,
        "node-ip-address": "127.0.0.1",
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": agent,
        "ray-client-server-port": client,
        "min-worker-port": 0,
        "max-worker-port": 0,
        "num-cpus": num_cpus,
        "num-gpus": 0,
        "object-store-memory": 80 * 2**20,
        "temp-dir": folder / "ray",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    flags += [f"--labels={labels}"] if labels else []
    return f"http://127.0.0.1:{dashboard}", ["start", "--head", "--block", *flags]


def _wait_until_up(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            # Refused for want of a token: it is up, and it asks for one.
            urllib.request.urlopen(f"{address}/api/jobs/", timeout=2).close()
            raise AssertionError("the job API answers without a token")
        except urllib.error.HTTPError as error:
            if error.code == 401:
                return
        except OSError:
            pass
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main() -> None:
    """Run a head until Enter is pressed, to try things by hand."""
    with loopback_head() as head:
        sys.stdout.write(f"{head}\n")
        sys.stdin.readline()


if __name__ == "__main__":
    main()
