from __future__ import annotations

import os
import pwd
import socket
import time

import pytest
import ray

from nasi_ray.config import ComputeSettings
from nasi_ray.errors import ClusterError, ConfigError, NasiRayError
from nasi_ray.pool.connection import connect
from nasi_ray.pool.nodes import live_nodes


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
    start = time.monotonic()
    with (
        pytest.raises(kind) as raised,
        connect(address.format(port=free_port()), ComputeSettings()),
    ):
        pass
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert time.monotonic() - start < 8.0


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
