"""Whatever answers in the place of S3: one line of ours, nothing that was not stored counts."""

from __future__ import annotations

from typing import Any

import pytest

from nasi_ray.errors import StorageError
from nasi_ray.storage.s3 import S3Storage
from tests.contracts.faulty_server import FaultyServer, Reply, faulty_server, reply_of
from tests.contracts.s3_answers import (
    ELSEWHERE,
    EVERY,
    FAILING,
    GOOD,
    NO_S3,
    XML,
    cases,
    refusal,
)
from tests.contracts.s3_server import quick_client, set_environment
from tests.contracts.storage import ACTIONS

pytestmark = [
    pytest.mark.integration,
    # botocore leaves open the connection of an answer that it cannot parse.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.usefixtures("collected"),
]


def storage_at(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch, max_attempts: int = 1
) -> S3Storage:
    set_environment(monkeypatch, server.url)
    return S3Storage("bucket", "run", quick_client(max_attempts))


def failure_of(action: str, storage: S3Storage) -> StorageError:
    with pytest.raises(StorageError) as caught:
        ACTIONS[action](storage)
    line = str(caught.value)
    assert line.startswith("cannot ")
    assert "s3://bucket/run" in line
    assert "\n" not in line
    assert len(line) < 500
    return caught.value


@cases(NO_S3)
def test_what_is_no_s3_service_is_refused_with_its_address(
    monkeypatch: pytest.MonkeyPatch, reply: Reply, action: str
) -> None:
    with faulty_server(lambda number: reply) as server:
        error = failure_of(action, storage_at(server, monkeypatch))
    assert not error.is_retryable
    assert f"what answers at {server.url} is a web server, not an S3 service" in str(error)
    assert "correct AWS_ENDPOINT_URL" in str(error)


@cases(NO_S3)
def test_a_page_in_place_of_a_service_that_was_there_is_retryable(
    monkeypatch: pytest.MonkeyPatch, reply: Reply, action: str
) -> None:
    good = reply_of(200, "PUT")
    with faulty_server(lambda number: reply if number else good) as server:
        storage = storage_at(server, monkeypatch)
        storage.write("a", b"")
        assert failure_of(action, storage).is_retryable


@cases(ELSEWHERE)
def test_a_redirect_is_refused_with_the_settings_to_correct(
    monkeypatch: pytest.MonkeyPatch, reply: Reply, action: str
) -> None:
    with faulty_server(lambda number: reply) as server:
        error = failure_of(action, storage_at(server, monkeypatch))
    assert not error.is_retryable
    assert "correct AWS_REGION or AWS_ENDPOINT_URL" in str(error)


@cases(FAILING)
def test_an_answer_that_lacks_what_makes_it_one_is_retryable(
    monkeypatch: pytest.MonkeyPatch, reply: Reply, action: str
) -> None:
    with faulty_server(lambda number: reply) as server:
        error = failure_of(action, storage_at(server, monkeypatch))
    assert error.is_retryable
    assert "try again" in str(error)


@pytest.mark.parametrize("name", ["wrong checksum", "reset", "reset at once", "part of its length"])
def test_a_body_that_does_not_arrive_whole_is_read_again(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    short = Reply(headers={**GOOD, "Content-Length": "9"}, body=b"abc")
    fault = FAILING[name][0] if name in FAILING else short
    good = reply_of(200, "GET")
    with faulty_server(lambda number: fault if number < 2 else good) as server:
        assert storage_at(server, monkeypatch).read("a") == b"body"
        assert server.num_requests == 3


@pytest.mark.parametrize(
    ("reply", "advice"),
    [
        (refusal(400, "InvalidArgument"), "check the AWS settings"),
        (
            Reply(
                status=400,
                headers=XML,
                body=b"<Error><Code>InvalidArgument</Code>"
                b"<Message>header x-amz-checksum-crc32 is not known</Message></Error>",
            ),
            "set AWS_REQUEST_CHECKSUM_CALCULATION=when_required",
        ),
    ],
)
def test_a_refusal_names_what_to_set(
    monkeypatch: pytest.MonkeyPatch, reply: Reply, advice: str
) -> None:
    with faulty_server(lambda number: reply) as server:
        error = failure_of("write", storage_at(server, monkeypatch))
    assert not error.is_retryable
    assert advice in str(error)


@pytest.mark.parametrize("action", EVERY)
@pytest.mark.parametrize(
    "raised", [KeyError("ETag"), ValueError("x\ny"), OSError("gone"), TypeError(), RuntimeError()]
)
def test_whatever_botocore_raises_is_one_line(
    monkeypatch: pytest.MonkeyPatch, action: str, raised: Exception
) -> None:
    def fail(**keywords: object) -> Any:
        raise raised

    with faulty_server(lambda number: 200) as server:
        storage = storage_at(server, monkeypatch)
        for name in (
            "put_object",
            "get_object",
            "delete_object",
            "delete_objects",
            "list_objects_v2",
        ):
            monkeypatch.setattr(storage._client, name, fail)
        error = failure_of(action, storage)
    assert error.is_retryable
    assert type(raised).__name__ in str(error)
