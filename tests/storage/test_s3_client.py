"""The client that a search gets: the shipped retries and timeouts, and the user's AWS settings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from nasi_ray.errors import StorageError
from nasi_ray.storage import Storage, open_storage, s3
from tests.contracts.faulty_server import CUT_SHORT, HANG, FaultyServer, faulty_server

pytestmark = pytest.mark.integration

URI = "s3://bucket/run"
ATTEMPTS = 4


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_MAX_ATTEMPTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # keeps what it has read


@contextmanager
def served(monkeypatch: pytest.MonkeyPatch, *answers: int) -> Iterator[FaultyServer]:
    """Answer requests in turn, all further ones like the last."""
    with faulty_server(lambda number: answers[min(number, len(answers) - 1)]) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        yield server


def test_a_service_that_is_unavailable_twice_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with served(monkeypatch, 503, 503, 200) as server:
        open_storage(URI).write("a", b"1")
        assert server.num_requests == 3


def test_a_service_that_stays_unavailable_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        served(monkeypatch, 503) as server,
        pytest.raises(StorageError, match=f"HTTP 503, attempt {ATTEMPTS}") as caught,
    ):
        open_storage(URI).write("a", b"1")
    assert server.num_requests == ATTEMPTS
    assert caught.value.is_retryable


def shipped_timeouts() -> tuple[float, float]:
    """Seconds to connect and to answer of the client that a search gets."""
    storage = open_storage(URI)
    assert isinstance(storage, s3.S3Storage)
    config: Any = storage._client.meta.config
    return config.connect_timeout, config.read_timeout


def test_the_shipped_timeouts_end_a_request_in_about_a_minute() -> None:
    connect_s, read_s = shipped_timeouts()
    assert read_s >= 10.0  # large parts take a while to be acknowledged
    assert connect_s >= 2.0
    assert 30.0 <= ATTEMPTS * read_s <= 60.0
    assert ATTEMPTS * (connect_s + read_s) <= 90.0


@pytest.mark.parametrize("call", [lambda s: s.write("a", b"1"), lambda s: s.read("a")])
def test_a_service_that_hangs_is_given_up_after_the_attempts_at_their_timeout(
    monkeypatch: pytest.MonkeyPatch, call: object
) -> None:
    assert callable(call)
    monkeypatch.setattr(s3, "_CONFIG", s3._CONFIG.merge(Config(read_timeout=0.3)))
    with served(monkeypatch, HANG) as server:
        storage: Storage = open_storage(URI)
        started = time.monotonic()
        with pytest.raises(StorageError, match="Read timeout") as caught:
            call(storage)
        elapsed_s = time.monotonic() - started
    assert server.num_requests == ATTEMPTS
    assert caught.value.is_retryable
    assert elapsed_s >= ATTEMPTS * 0.3


def test_a_body_that_breaks_off_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(monkeypatch, CUT_SHORT, CUT_SHORT, 200) as server:
        assert open_storage(URI).read("a") == b"body"
        assert server.num_requests == 3


def test_a_body_that_always_breaks_off_is_retryable(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(monkeypatch, CUT_SHORT), pytest.raises(StorageError, match="try again") as caught:
        open_storage(URI).read("a")
    assert caught.value.is_retryable


def test_a_profile_gives_endpoint_and_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_PROFILE", "lab")
    with faulty_server(lambda number: 200) as server:
        (tmp_path / "config").write_text(
            f"[profile lab]\nregion = eu-central-1\nendpoint_url = {server.url}\n"
        )
        (tmp_path / "credentials").write_text(
            "[default]\naws_access_key_id = OTHER\naws_secret_access_key = x\n"
            "[lab]\naws_access_key_id = LABKEY\naws_secret_access_key = y\n"
        )
        open_storage(URI).write("a", b"1")
    assert server.num_requests == 1
    assert "Credential=LABKEY/" in server.authorizations[0]
    assert "/eu-central-1/s3/" in server.authorizations[0]
