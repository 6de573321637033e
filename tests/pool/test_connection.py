from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import ray

from nasi_ray.config import ComputeSettings
from nasi_ray.errors import ClusterError, ClusterRefusedError, ConfigError, NasiRayError
from nasi_ray.pool import connection
from nasi_ray.pool.connection import connect
from nasi_ray.pool.nodes import live_nodes
from nasi_ray.pool.temp_dir import delete_temp_dir, keep_temp_dir, make_temp_dir, scratch_dir


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("address", "kind", "said"),
    [
        ("127.0.0.1:{port}", ClusterError, "no Ray cluster answers at 127.0.0.1:"),
        ("no-such-host.invalid:6379", ClusterError, "answers at no-such-host.invalid:6379"),
        ("ray://127.0.0.1:10001", ConfigError, "ray://127.0.0.1:10001 is not a cluster address"),
        ("http://127.0.0.1:8265", ConfigError, "ray job submit"),
        ("somewhere", ConfigError, "give host:port, or auto"),
        ("a..b:6379", ConfigError, "'a..b' in 'a..b:6379' is not a host name"),
        ("127.0.0.1:²", ConfigError, "'127.0.0.1:²' is not a cluster address"),
        ("127.0.0.1:99999", ConfigError, "'127.0.0.1:99999' is not a cluster address"),
    ],
)
def test_an_address_without_a_cluster_is_one_line_at_once(
    address: str, kind: type[NasiRayError], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with (
        pytest.raises(kind) as raised,
        connect(address.format(port=free_port()), ComputeSettings()),
    ):
        pass
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def serve(listener: socket.socket, answer: Callable[[socket.socket], object]) -> None:
    with contextlib.suppress(OSError):
        while True:
            answer(listener.accept()[0])


def close_all() -> None:
    for peer in kept_open:
        peer.close()


def http(peer: socket.socket) -> None:
    with peer:
        peer.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")


def ssh(peer: socket.socket) -> None:
    peer.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
    kept_open.append(peer)


kept_open: list[socket.socket] = []
NO_GCS: dict[str, Callable[[socket.socket], None]] = {
    "HTTP": http,
    "SSH": ssh,
    "silence": kept_open.append,
    "hanging up": socket.socket.close,
}


@pytest.mark.parametrize("name", [*NO_GCS, "another gRPC service", "never accepting"])
def test_what_answers_and_is_no_cluster_is_one_line_that_names_the_address(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(connection, "_ANSWER_S", 1.0)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with contextlib.ExitStack() as stack:
        if name == "another gRPC service":
            server = grpc.server(ThreadPoolExecutor(1))
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            stack.callback(server.stop, None)
        else:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            port = listener.getsockname()[1]
            stack.callback(close_all)
            if name in NO_GCS:
                threading.Thread(target=serve, args=(listener, NO_GCS[name]), daemon=True).start()
                stack.callback(listener.shutdown, socket.SHUT_RDWR)
        stack.enter_context(
            pytest.raises(
                ClusterError, match=rf"^what answers at 127\.0\.0\.1:{port} is not a Ray cluster"
            )
        )
        stack.enter_context(connect(f"127.0.0.1:{port}", ComputeSettings()))


def test_waiting_for_a_cluster_is_bounded_by_a_minute() -> None:
    assert connection._PROBE_S + connection._ANSWER_S <= 60.0


BAD_DIRECTORIES: dict[str, tuple[Callable[[Path], str | Path], str]] = {
    "a long path": (lambda path: path / ("x" * 110), "set RAY_TMPDIR to a shorter path"),
    "a file": (lambda path: path / "file", "set RAY_TMPDIR to a directory that you can write to"),
    "below a file": (lambda path: path / "file" / "x", "set RAY_TMPDIR to a directory"),
    "a null byte": (lambda path: f"{path}/\0", "set RAY_TMPDIR to a directory"),
}


@pytest.mark.parametrize("name", BAD_DIRECTORIES)
def test_a_directory_that_ray_cannot_use_is_refused_with_what_to_set(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, said = BAD_DIRECTORIES[name]
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # short enough for a socket
        (Path(folder) / "file").touch()
        monkeypatch.setattr(os, "environ", {**os.environ, "RAY_TMPDIR": str(make(Path(folder)))})
        with pytest.raises(ClusterRefusedError, match=said) as raised:
            make_temp_dir()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR", None])
def test_the_directory_of_a_local_ray_is_closed_to_others_and_short_enough(
    monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        if variable:
            monkeypatch.setenv(variable, folder)
        made = Path(make_temp_dir())
        outer = made.parent
        assert outer.parent == Path(folder if variable else "/tmp")
        assert stat.S_IMODE(outer.stat().st_mode) == 0o700
        made.mkdir()
        (made / "socket").touch()
        delete_temp_dir(str(made))
        assert not outer.exists()


def test_what_a_killed_process_has_left_is_deleted_and_what_is_used_or_kept_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = (
        "import os, signal; from nasi_ray.pool.temp_dir import *\n"
        "print(make_temp_dir(), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        used, kept = make_temp_dir(), make_temp_dir()
        keep_temp_dir(kept)
        os.mkdir(f"{folder}/ray-of-others")
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            text=True,
        )
        left = Path(done.stdout.strip()).parent
        assert left.is_dir()
        delete_temp_dir(make_temp_dir())
        found = {path.name for path in Path(folder).iterdir()}
        assert found == {Path(used).parent.name, Path(kept).parent.name, "ray-of-others"}
        delete_temp_dir(used)


def test_a_scratch_directory_ends_with_its_process_or_with_the_next_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = (
        "import os, signal; from nasi_ray.pool.temp_dir import *\n"
        "with scratch_dir() as made: print(made, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert Path(done.stdout.strip()).is_dir()
    with scratch_dir() as made, scratch_dir() as other:
        assert {str(path) for path in tmp_path.iterdir()} == {made, other}
        assert stat.S_IMODE(os.stat(made).st_mode) == 0o700
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nothing"))
    with pytest.raises(ClusterRefusedError, match=r"No such file.*; set TMPDIR to"), scratch_dir():
        pass


def test_a_long_directory_that_nobody_chose_for_ray_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("x" * 100)))
    made = make_temp_dir()
    assert made.startswith("/tmp/ray-")
    delete_temp_dir(made)


@pytest.mark.parametrize(
    "raised", [Exception("The node timed out\nmore"), RuntimeError("x"), KeyError("y")]
)
@pytest.mark.parametrize("address", [None, "127.0.0.1:1"])
def test_whatever_ray_raises_at_the_start_is_one_line_and_retryable(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, address: str | None
) -> None:
    def init(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "init", init)
    for name in ("_probe", "_ask"):
        monkeypatch.setattr(connection, name, lambda address: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with (
        pytest.raises(ClusterError, match=r"Ray did not start|cannot join the Ray") as caught,
        connect(address, ComputeSettings(num_workers=1)),
    ):
        pass
    assert "\n" not in str(caught.value)
    assert caught.value.is_retryable
    if address is None:
        logs = re.findall(r"see the logs in (\S+)/session_latest/logs", str(caught.value))
        assert Path(logs[0]).parent.is_dir()
        shutil.rmtree(Path(logs[0]).parent)


@pytest.mark.integration
@pytest.mark.usefixtures("local_ray")
def test_a_connected_ray_is_used_and_left_running() -> None:
    with connect(None, ComputeSettings(num_workers=64)):
        assert [node["CPU"] for node in live_nodes()] == [4.0]
    assert ray.is_initialized()


def test_a_local_ray_gets_a_token_if_the_user_has_no_home_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def getpwuid(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in [name for name in os.environ if name == "HOME" or name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")  # so that it is restored at the end
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    tokens: list[str | None] = []
    monkeypatch.setattr(
        ray, "init", lambda *_, **__: tokens.append(os.environ.get("RAY_AUTH_TOKEN"))
    )
    with connect(None, ComputeSettings(num_workers=1)):
        pass
    (token,) = tokens
    assert token is not None
    assert len(token) == 64
