"""S3Storage: the contract over HTTP, failing services, and the lease that is its lock."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from nasi_ray.errors import RunLockedError, StorageError, StorageRefusedError
from nasi_ray.storage import LOCK_NAME, Storage
from nasi_ray.storage.s3 import S3Storage
from tests.contracts.s3_server import BUCKET, answer_with, new_prefix, quick_client, s3_server
from tests.contracts.storage import ACTIONS, StorageContract

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with s3_server():
        yield


@pytest.fixture
def prefix() -> str:
    return new_prefix()


@pytest.fixture
def client() -> Any:
    return quick_client()


class TestS3Storage(StorageContract):
    @pytest.fixture
    def storage(self, prefix: str) -> Storage:
        return S3Storage(BUCKET, prefix)

    @pytest.fixture
    def same_storage(self, prefix: str) -> Storage:
        return S3Storage(BUCKET, prefix)


def stored_lease(prefix: str) -> dict[str, Any]:
    body = boto3.client("s3").get_object(Bucket=BUCKET, Key=f"{prefix}/{LOCK_NAME}")["Body"]
    content: dict[str, Any] = json.loads(body.read())
    return content


def lease_exists(prefix: str) -> bool:
    found = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/{LOCK_NAME}")
    return found["KeyCount"] == 1


def test_listing_goes_beyond_one_page(prefix: str, client: Any) -> None:
    names = [f"samples/{n:05d}" for n in range(1005)]
    for name in names:
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=b"")
    assert S3Storage(BUCKET, prefix, client).list("samples/") == names


def test_folders_made_by_a_console_are_not_listed(prefix: str, client: Any) -> None:
    client.put_object(Bucket=BUCKET, Key=f"{prefix}/", Body=b"")
    client.put_object(Bucket=BUCKET, Key=f"{prefix}/samples/", Body=b"")
    assert S3Storage(BUCKET, prefix, client).list("") == []


def test_a_sibling_prefix_is_another_run(prefix: str) -> None:
    S3Storage(BUCKET, f"{prefix}-b").write("a", b"1")
    assert S3Storage(BUCKET, prefix).list("") == []


def test_the_prefix_may_be_empty(client: Any) -> None:
    client.create_bucket(Bucket="whole-bucket")
    storage = S3Storage("whole-bucket", "")
    with storage.lock():
        storage.write("samples/a", b"1")
        assert storage.list("") == ["samples/a"]
        assert storage.uri == "s3://whole-bucket"


@pytest.mark.parametrize("action", list(ACTIONS))
def test_a_missing_bucket_is_named(action: str) -> None:
    storage = S3Storage("no-such-bucket", "a")
    with pytest.raises(
        StorageRefusedError, match=r"^cannot .* s3://no-such-bucket/a.*NoSuchBucket.*cr"
    ):
        ACTIONS[action](storage)


@pytest.mark.parametrize(
    ("status", "code", "advice", "may_pass"),
    [
        (403, "AccessDenied", "allow s3:ListBucket", False),
        (403, "Forbidden", "allow s3:ListBucket", False),
        (403, "InvalidAccessKeyId", "set AWS_ACCESS_KEY_ID", False),
        (400, "ExpiredToken", "renew the AWS session", True),
        (503, "SlowDown", "try again", True),
        (500, "InternalError", "try again", True),
    ],
)
def test_refusals_name_the_object_and_the_remedy(
    prefix: str, client: Any, status: int, code: str, advice: str, may_pass: bool
) -> None:
    for operation in ("PutObject", "GetObject", "ListObjectsV2", "DeleteObject"):
        answer_with(client, operation, status, code, when=lambda: True)
    storage = S3Storage(BUCKET, prefix, client)
    actions: dict[str, Callable[[], object]] = {
        "write": lambda: storage.create("a", b""),
        "read": lambda: storage.read("a"),
        "delete": lambda: storage.delete("a"),
    }
    for action, call in actions.items():
        with pytest.raises(StorageError) as error:
            call()
        assert error.value.may_pass is may_pass
        line = str(error.value)
        assert line.startswith(f"cannot {action} s3://{BUCKET}/{prefix}/a: {code} (HTTP {status}")
        assert advice in line
        assert "\n" not in line


def test_a_503_that_passes_is_not_seen(prefix: str, client: Any) -> None:
    failures = iter([True])
    answer_with(client, "PutObject", 503, "SlowDown", when=lambda: next(failures, False))
    storage = S3Storage(BUCKET, prefix, client)
    assert storage.create("a", b"1") is True
    assert storage.read("a") == b"1"


def test_a_create_whose_answer_was_lost_counts_as_created(prefix: str, client: Any) -> None:
    def goes_through_unanswered() -> bool:
        if S3Storage(BUCKET, prefix).list(""):
            return False
        S3Storage(BUCKET, prefix).write("a", b"1")
        return True

    answer_with(client, "PutObject", 503, "SlowDown", when=goes_through_unanswered)
    assert S3Storage(BUCKET, prefix, client).create("a", b"1") is True
    assert S3Storage(BUCKET, prefix, client).create("a", b"1") is False


def test_missing_credentials_are_one_line(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    storage = S3Storage(BUCKET, prefix, boto3.Session().client("s3"))
    with pytest.raises(StorageError, match=rf"s3://{BUCKET}/{prefix}/a: .*set AWS_ACCESS_KEY_ID"):
        storage.write("a", b"")


def test_an_unreachable_endpoint_is_one_line(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    storage = S3Storage(BUCKET, prefix, quick_client(max_attempts=1))
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:1/.*check the network") as error:
        storage.list("")
    assert error.value.may_pass


def test_the_lease_tells_who_holds_it_and_goes_at_the_end(prefix: str) -> None:
    with S3Storage(BUCKET, prefix).lock():
        lease = stored_lease(prefix)
        assert set(lease) == {"owner", "host", "pid", "since", "expires", "duration_s"}
        assert lease["since"] < lease["expires"]
    assert not lease_exists(prefix)


def test_the_lease_is_renewed_while_held(prefix: str) -> None:
    holder = S3Storage(BUCKET, prefix, lease_s=0.3)
    with holder.lock():
        first = stored_lease(prefix)
        time.sleep(2.5)  # far beyond duration and server time resolution
        assert stored_lease(prefix)["expires"] > first["expires"]
        with pytest.raises(RunLockedError), S3Storage(BUCKET, prefix).lock():
            pass
        holder.write("a", b"1")


def test_a_live_lease_is_not_taken_and_tells_when_it_may_be(prefix: str, client: Any) -> None:
    abandon_lease(client, prefix, duration_s=60)
    with (
        pytest.raises(RunLockedError, match=r"pid 7 on dead since 2026-.*again in 6[01] s"),
        S3Storage(BUCKET, prefix).lock(),
    ):
        pass


def abandon_lease(client: Any, prefix: str, duration_s: float, owner: str = "dead") -> None:
    """What a killed driver leaves behind."""
    content = {
        "owner": owner,
        "host": "dead",
        "pid": 7,
        "since": "2026-01-01T00:00:00+00:00",
        "duration_s": duration_s,
    }
    key = f"{prefix}/{LOCK_NAME}"
    client.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(content).encode())


@pytest.mark.parametrize("content", [b"", b"[]", b"not json", b'{"duration_s": "x"}'])
def test_an_unreadable_lease_expires_too(prefix: str, client: Any, content: bytes) -> None:
    client.put_object(Bucket=BUCKET, Key=f"{prefix}/{LOCK_NAME}", Body=content)
    with pytest.raises(RunLockedError, match=r"again in 6[01] s"), S3Storage(BUCKET, prefix).lock():
        pass
    lock_within(S3Storage(BUCKET, prefix, lease_s=0.1), seconds=3)


def lock_within(storage: S3Storage, seconds: float) -> float:
    """Try until the lock is had; the time it took."""
    started = time.monotonic()
    while True:
        try:
            with storage.lock():
                storage.write("mine", b"")
                return time.monotonic() - started
        except RunLockedError:
            assert time.monotonic() - started < seconds
            time.sleep(0.05)


def test_an_expired_lease_is_taken_over_but_not_before(prefix: str, client: Any) -> None:
    abandon_lease(client, prefix, duration_s=0.5)
    # Server times are whole seconds, so ages are known within one second.
    assert lock_within(S3Storage(BUCKET, prefix), seconds=4) > 0.4


def test_a_driver_whose_lease_was_taken_writes_nothing_more(
    prefix: str, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    storage = S3Storage(BUCKET, prefix, lease_s=0.3)
    storage.write("old", b"1")
    with storage.lock():
        abandon_lease(client, prefix, duration_s=60, owner="thief")
        time.sleep(0.35)
        for call in (
            lambda: storage.write("a", b""),
            lambda: storage.create("b", b""),
            lambda: storage.delete("old"),
        ):
            with pytest.raises(RunLockedError, match=r"taken over by pid 7 on dead.*start again"):
                call()
        assert storage.read("old") == b"1"
    assert storage.list("") == ["old"]
    assert stored_lease(prefix)["owner"] == "thief"


def test_a_removed_lease_stops_the_driver(prefix: str, client: Any) -> None:
    storage = S3Storage(BUCKET, prefix, lease_s=0.3)
    with storage.lock():
        client.delete_object(Bucket=BUCKET, Key=f"{prefix}/{LOCK_NAME}")
        time.sleep(0.35)
        with pytest.raises(RunLockedError, match="removed"):
            storage.write("a", b"")


def test_a_lease_that_could_not_be_renewed_blocks_writes_until_it_can(prefix: str) -> None:
    broken = False
    client = quick_client(max_attempts=1)
    answer_with(client, "PutObject", 503, "SlowDown", when=lambda: broken)
    storage = S3Storage(BUCKET, prefix, client, lease_s=0.3)
    with storage.lock():
        broken = True
        time.sleep(0.45)
        with pytest.raises(StorageError, match=r"cannot renew the lock of .*SlowDown"):
            storage.write("a", b"1")
        broken = False
        storage.write("a", b"1")  # nobody took it in the meantime
        assert storage.read("a") == b"1"


def test_a_renewal_whose_answer_was_lost_is_no_loss(prefix: str, client: Any) -> None:
    storage = S3Storage(BUCKET, prefix, client, lease_s=0.3)
    with storage.lock():
        # The same owner with another ETag: what a put leaves whose answer never came.
        lease = stored_lease(prefix) | {"expires": "later"}
        key = f"{prefix}/{LOCK_NAME}"
        boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=json.dumps(lease).encode())
        time.sleep(0.35)
        storage.write("a", b"1")


def test_an_unlock_that_fails_is_logged_and_hides_nothing(
    prefix: str, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    answer_with(client, "DeleteObject", 403, "AccessDenied", when=lambda: True)
    storage = S3Storage(BUCKET, prefix, client)
    with caplog.at_level(logging.WARNING), pytest.raises(ZeroDivisionError), storage.lock():
        _ = 1 / 0
    assert "AccessDenied" in caplog.text
    assert "expires in 60 s" in caplog.text


def test_an_endpoint_without_conditional_writes_is_refused(prefix: str, client: Any) -> None:
    def drop_condition(request: Any, **_: object) -> None:
        del request.headers["If-None-Match"]

    client.meta.events.register("before-sign.s3.PutObject", drop_condition)
    with (
        pytest.raises(StorageError, match="ignores If-None-Match"),
        S3Storage(BUCKET, prefix, client).lock(),
    ):
        pass
    assert not lease_exists(prefix)
