"""The lease that is the lock of a run on S3: renewed, taken over, lost, given back."""

from __future__ import annotations

import io
import itertools
import json
import logging
import re
import threading
import time
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from nasi_ray.errors import RunLockedError, StorageError, StorageRefusedError
from nasi_ray.storage import LOCK_NAME, s3_lease
from nasi_ray.storage.s3 import S3Storage
from nasi_ray.storage.s3_objects import S3Objects
from tests.contracts.faulty_server import MODIFIED
from tests.contracts.s3_server import BUCKET, answer_with, quick_client

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("s3")]


@pytest.fixture
def client() -> Any:
    return quick_client()


def stored_lease(prefix: str) -> dict[str, Any]:
    body = boto3.client("s3").get_object(Bucket=BUCKET, Key=f"{prefix}/{LOCK_NAME}")["Body"]
    content: dict[str, Any] = json.loads(body.read())
    return content


def lease_exists(prefix: str) -> bool:
    found = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/{LOCK_NAME}")
    return found["KeyCount"] == 1


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
    lock_within(S3Storage(BUCKET, prefix, lease_s=0.1), seconds=60)


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


def test_an_expired_lease_is_taken_over_but_not_before(
    prefix: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_lease, "_SHORTEST_S", 0.1)
    abandon_lease(client, prefix, duration_s=0.5)
    # Server times are whole seconds, so ages are known within one second.
    assert lock_within(S3Storage(BUCKET, prefix), seconds=60) > 0.4


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


@pytest.mark.parametrize("name", ["If-None-Match", "If-Match"])
def test_an_endpoint_that_ignores_a_condition_is_refused(
    prefix: str, client: Any, name: str
) -> None:
    def drop_condition(request: Any, **_: object) -> None:
        del request.headers[name]

    client.meta.events.register("before-sign.s3.PutObject", drop_condition)
    with (
        pytest.raises(StorageRefusedError, match=f"the endpoint ignores {name}, so two drivers"),
        S3Storage(BUCKET, prefix, client).lock(),
    ):
        pass
    assert not lease_exists(prefix)


def test_an_endpoint_that_refuses_every_condition_on_an_etag_is_refused(
    prefix: str, client: Any
) -> None:
    def spoil_condition(request: Any, **_: object) -> None:
        if "If-Match" in request.headers:
            request.headers.replace_header("If-Match", '"0"')

    client.meta.events.register("before-sign.s3.PutObject", spoil_condition)
    with (
        pytest.raises(StorageRefusedError, match="refuses every If-Match"),
        S3Storage(BUCKET, prefix, client).lock(),
    ):
        pass
    assert not lease_exists(prefix)


@pytest.mark.parametrize(
    ("given", "taken_s"),
    [
        ("1e18", 600), ("Infinity", 600), ("1" + "0" * 400, 600), ("601", 600), ("600", 600),
        ("-Infinity", 5), ("-5", 5), ("0", 5), ("0.001", 5), ("5", 5), ("30", 30),
        ("NaN", 60), ("null", 60), ("true", 60), ('"x"', 60), ('"30"', 60), ("[1]", 60), ("{}", 60),
        ("9" * 5000, 60), ("[" * 5000, 60), ('"' + "x" * 70_000 + '"', 60),
    ],
)  # fmt: skip
def test_what_a_lock_says_of_its_duration_is_taken_within_limits(
    prefix: str, client: Any, given: str, taken_s: float
) -> None:
    body = f'{{"owner": "dead", "host": "dead", "pid": 7, "duration_s": {given}}}'.encode()
    client.put_object(Bucket=BUCKET, Key=f"{prefix}/{LOCK_NAME}", Body=body)
    with pytest.raises(RunLockedError) as caught, lock_of(prefix):
        pass
    again = re.search(r"try again in (\d+) s(.*)", str(caught.value))
    assert again is not None
    assert taken_s - 2 <= int(again[1]) <= taken_s + 1
    is_taken_as_given = given in ("600", "5", "30")
    assert again[2] == "" if is_taken_as_given else f"{taken_s} s is used)" in again[2]
    assert len(str(caught.value)) < 400


def test_a_lock_from_the_future_expires_too(prefix: str) -> None:
    objects = S3Objects(FromTheFuture(), BUCKET)  # type: ignore[arg-type]
    assert objects.get("a").age_s == 0.0


class FromTheFuture:
    """A client of a server that gives a time of modification in centuries to come."""

    def get_object(self, **keywords: str) -> dict[str, Any]:
        return {
            "Body": io.BytesIO(b""),
            "ContentLength": 0,
            "ETag": '"1"',
            "LastModified": datetime(2999, 1, 1, tzinfo=UTC),
            "ResponseMetadata": {"HTTPHeaders": {"date": MODIFIED}, "HTTPStatusCode": 200},
        }


@pytest.mark.parametrize("end", [None, KeyboardInterrupt()])
def test_a_lock_that_fails_half_way_is_given_back(prefix: str, end: BaseException | None) -> None:
    client, calls = quick_client(max_attempts=1), itertools.count()

    def fail_at_the_second() -> bool:  # which makes sure that conditions are kept
        is_second = next(calls) == 1
        if is_second and end:
            raise end
        return is_second

    answer_with(client, "PutObject", 503, "SlowDown", when=fail_at_the_second)
    with pytest.raises(KeyboardInterrupt if end else StorageError), lock_of(prefix, client):
        pass
    assert next(calls) == 2
    assert not lease_exists(prefix)


def lock_of(prefix: str, client: Any = None) -> Any:
    return S3Storage(BUCKET, prefix, client).lock()


def test_a_lock_that_was_had_though_its_answer_was_lost_is_given_back(prefix: str) -> None:
    client = quick_client(max_attempts=1)
    answer_with(client, "PutObject", 503, "SlowDown", when=lambda: True, goes_through=True)
    with pytest.raises(StorageError, match="SlowDown"), lock_of(prefix, client):
        pass
    assert not lease_exists(prefix)


def test_a_lock_whose_answers_are_lost_for_a_while_is_had(prefix: str, client: Any) -> None:
    when = iter([True, False, True, False])
    answer_with(
        client, "PutObject", 503, "SlowDown", when=lambda: next(when, False), goes_through=True
    )
    with lock_of(prefix, client):
        assert lease_exists(prefix)
        S3Storage(BUCKET, prefix, client).write("a", b"")
    assert not lease_exists(prefix)


def test_a_lease_that_could_not_be_given_back_is_taken_again_by_the_same_process_only(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = quick_client(max_attempts=1)
    answer_with(client, "PutObject", 503, "SlowDown", when=lambda: True, goes_through=True)
    for operation in ("GetObject", "DeleteObject"):
        answer_with(client, operation, 503, "SlowDown", when=lambda: True)
    with pytest.raises(StorageError, match="SlowDown"), lock_of(prefix, client):
        pass
    assert lease_exists(prefix)
    with monkeypatch.context() as another_process:
        another_process.setattr(s3_lease, "_given_up", set())
        with pytest.raises(RunLockedError, match="try again in 6"), lock_of(prefix):
            pass
    with lock_of(prefix):
        pass
    assert not lease_exists(prefix)


def test_a_lock_that_is_refused_leaves_nothing_to_give_back(
    prefix: str, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for operation in ("PutObject", "GetObject"):
        answer_with(client, operation, 403, "AccessDenied", when=lambda: True)
    with pytest.raises(StorageRefusedError), lock_of(prefix, client):
        pass
    assert caplog.text == ""


def test_an_unlock_that_hangs_is_not_waited_for(
    prefix: str, client: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_lease, "_GIVING_BACK_S", 0.1)

    is_left = threading.Event()

    def hang() -> bool:
        assert is_left.wait(100.0)
        return True

    answer_with(client, "DeleteObject", 503, "SlowDown", when=hang)
    with lock_of(prefix, client):
        pass
    is_left.set()
    assert "S3 has not answered for 0 s (the lock expires in 60 s)" in caplog.text
    with lock_of(prefix):
        pass


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="has no such clock")
def test_the_time_a_machine_is_suspended_counts(
    prefix: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    suspended_s = 0.0
    clock_gettime = time.clock_gettime

    def gettime(clock: int) -> float:
        return clock_gettime(clock) + suspended_s * (clock == time.CLOCK_BOOTTIME)

    storage = S3Storage(BUCKET, prefix)
    with storage.lock():
        monkeypatch.setattr(time, "clock_gettime", gettime)
        suspended_s = 61.0
        abandon_lease(client, prefix, duration_s=60, owner="thief")
        with pytest.raises(RunLockedError, match="taken over by pid 7"):
            storage.write("a", b"")


@pytest.mark.parametrize(
    "raised", [KeyError("ETag"), ValueError("x"), OSError("gone"), MemoryError(), TypeError()]
)
def test_the_thread_that_renews_survives_whatever_is_raised(
    prefix: str, client: Any, monkeypatch: pytest.MonkeyPatch, raised: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    storage = S3Storage(BUCKET, prefix, client, lease_s=0.3)
    whole_put = client.put_object
    with storage.lock():
        first = stored_lease(prefix)
        failed = threading.Event()

        def fail_once(**keywords: object) -> Any:
            if not failed.is_set():
                failed.set()
                raise raised
            return whole_put(**keywords)

        monkeypatch.setattr(client, "put_object", fail_once)
        assert failed.wait(100.0)
        renewed_by = time.monotonic() + 100.0
        while stored_lease(prefix)["expires"] == first["expires"]:
            assert time.monotonic() < renewed_by
            time.sleep(0.05)
        storage.write("a", b"1")
    assert type(raised).__name__ in caplog.text
    assert not lease_exists(prefix)


def test_the_death_of_the_thread_that_renews_is_reported_and_loses_nothing(
    prefix: str, client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    storage = S3Storage(BUCKET, prefix, client, lease_s=0.3)

    def die(**keywords: object) -> Any:
        raise SystemExit

    with storage.lock():
        assert storage._lease is not None
        thread = storage._lease._thread
        with monkeypatch.context() as dying:
            dying.setattr(client, "put_object", die)
            thread.join(100.0)
        assert not thread.is_alive()
        assert f"the thread that renews the lock of {storage.uri} died of SystemExit" in caplog.text
        time.sleep(0.35)
        storage.write("a", b"1")  # renews
    assert storage.read("a") == b"1"


def test_a_process_without_room_for_a_thread_gives_the_lock_back(
    prefix: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("nasi-ray"):
            raise RuntimeError("can't start new thread")
        whole_start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with (
        pytest.raises(StorageError, match=r"cannot lock .* can't start new thread; try again"),
        S3Storage(BUCKET, prefix, client).lock(),
    ):
        pass
    assert not lease_exists(prefix)
