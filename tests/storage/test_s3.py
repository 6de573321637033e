"""S3Storage: the contract over HTTP, and failing services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import IncompleteReadError
from botocore.retries import standard

from nasi_ray.errors import RunLockedError, StorageError, StorageRefusedError
from nasi_ray.storage import Storage, s3_errors
from nasi_ray.storage.s3 import S3Storage
from tests.contracts.s3_server import BUCKET, answer_with, quick_client
from tests.contracts.storage import ACTIONS, StorageContract

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("s3")]


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


def test_listing_goes_beyond_one_page(prefix: str, client: Any) -> None:
    names = [f"samples/{n:05d}" for n in range(1005)]
    for name in names:
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=b"")
    assert S3Storage(BUCKET, prefix, client).list("samples/") == names


def test_more_names_than_one_request_takes_are_deleted(prefix: str, client: Any) -> None:
    names = [f"samples/{n:05d}" for n in range(1001)]
    for name in names:
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=b"")
    requests: list[str] = []
    client.meta.events.register("before-call.s3", lambda model, **_: requests.append(model.name))
    S3Storage(BUCKET, prefix, client).delete(*names)
    assert requests == ["DeleteObjects", "DeleteObject"]
    assert S3Storage(BUCKET, prefix, client).list("") == []


@pytest.mark.parametrize(
    ("status", "code"),
    [(501, "NotImplemented"), (405, "MethodNotAllowed"), (400, "MissingContentMD5")],
)
def test_names_are_deleted_one_by_one_where_a_service_cannot_do_it_together(
    prefix: str, client: Any, status: int, code: str
) -> None:
    storage = S3Storage(BUCKET, prefix, client)
    for name in ("a", "b", "kept"):
        storage.write(name, b"")
    answer_with(client, "DeleteObjects", status, code, when=lambda: True)
    storage.delete("a", "b")
    assert storage.list("") == ["kept"]


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
    ("status", "code", "advice", "is_retryable"),
    [
        (403, "AccessDenied", "allow s3:ListBucket", False),
        (403, "Forbidden", "allow s3:ListBucket", False),
        (403, "InvalidAccessKeyId", "set AWS_ACCESS_KEY_ID", False),
        (401, "Unauthorized", "set AWS_ACCESS_KEY_ID", False),
        (400, "ExpiredToken", "renew the AWS session", True),
        (403, "ExpiredTokenException", "renew the AWS session", True),
        (400, "TokenRefreshRequired", "renew the AWS session", True),
        (400, "InvalidToken", "set AWS_SESSION_TOKEN", False),
        (403, "InvalidTokenId", "set AWS_SESSION_TOKEN", False),
        (403, "InvalidClientTokenId", "set AWS_SESSION_TOKEN", False),
        (403, "InvalidSecurity", "set AWS_SESSION_TOKEN", False),
        (503, "SlowDown", "try again", True),
        (500, "InternalError", "try again", True),
    ],
)
def test_refusals_name_the_object_and_the_remedy(
    prefix: str, client: Any, status: int, code: str, advice: str, is_retryable: bool
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
        assert error.value.is_retryable is is_retryable
        line = str(error.value)
        assert line.startswith(f"cannot {action} s3://{BUCKET}/{prefix}/a: {code} (HTTP {status}")
        assert advice in line
        assert "\n" not in line


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (429, "TooManyRequests"),
        (429, "AnythingElse"),
        (400, "ThrottlingException"),
        (400, "RequestLimitExceeded"),
        (400, "RequestThrottled"),
        (403, "Throttling"),
        (408, "RequestTimeout"),
        (409, "OperationAborted"),
    ],
)
def test_throttling_is_no_refusal(prefix: str, status: int, code: str) -> None:
    client = quick_client(max_attempts=1)
    answer_with(client, "PutObject", status, code, when=lambda: True)
    with pytest.raises(StorageError, match=rf"{code} \(HTTP {status}.*try again") as caught:
        S3Storage(BUCKET, prefix, client).write("a", b"")
    assert caught.value.is_retryable


def test_all_that_botocore_calls_throttling_is_known() -> None:
    codes = standard.ThrottledRetryableChecker._THROTTLED_ERROR_CODES  # type: ignore[attr-defined]
    assert set(codes) <= s3_errors._THROTTLING_CODES


def test_an_answer_that_breaks_off_is_no_refusal() -> None:
    with (
        pytest.raises(StorageError, match="check the network") as caught,
        s3_errors.one_line_errors("read", "s3://bucket/a"),
    ):
        raise IncompleteReadError(actual_bytes=1, expected_bytes=2)
    assert caught.value.is_retryable


def test_a_service_that_lacks_a_function_is_a_refusal(prefix: str, client: Any) -> None:
    answer_with(client, "PutObject", 501, "NotImplemented", when=lambda: True)
    with pytest.raises(StorageRefusedError, match="use an S3 service with conditional writes"):
        S3Storage(BUCKET, prefix, client).create("a", b"")


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


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (412, "PreconditionFailed"),
        (412, "ConditionNotMet"),
        (412, "Precondition Failed"),
        (412, "412"),
        (409, "ConditionalRequestConflict"),
        (409, "FileAlreadyExists"),
    ],
)
def test_a_failed_condition_is_known_whatever_a_service_calls_it(
    prefix: str, client: Any, status: int, code: str
) -> None:
    storage = S3Storage(BUCKET, prefix)
    storage.write("a", b"1")
    answer_with(client, "PutObject", status, code, when=lambda: True)
    assert S3Storage(BUCKET, prefix, client).create("a", b"2") is False
    with pytest.raises(RunLockedError), storage.lock(), S3Storage(BUCKET, prefix, client).lock():
        pass


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
    assert error.value.is_retryable
