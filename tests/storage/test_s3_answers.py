"""Whatever answers in the place of S3: one line of ours, nothing that was not stored counts."""

from __future__ import annotations

import os
from typing import Any

import pytest

from nasi_ray.errors import StorageError
from nasi_ray.storage.s3 import S3Storage
from tests.contracts.faulty_server import MODIFIED, FaultyServer, Reply, faulty_server, reply_of
from tests.contracts.s3_server import quick_client
from tests.contracts.storage import ACTIONS

pytestmark = [
    pytest.mark.integration,
    # botocore leaves open the connection of an answer that it cannot parse.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

HTML = {"Content-Type": "text/html; charset=utf-8"}
XML = {"Content-Type": "application/xml"}
GOOD = {"ETag": '"1"', "Last-Modified": MODIFIED}
PAGE = b"<!doctype html><html><body>hello<br></body></html>"
NOT_TRUNCATED = b"<IsTruncated>false</IsTruncated>"
ANYWHERE = {"Location": "http://127.0.0.1:9/"}


def refusal(status: int, code: str, headers: dict[str, str] | None = None) -> Reply:
    body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()
    return Reply(status=status, headers={**XML, **(headers or {})}, body=body)


def listing(
    key: bytes = b"<Key>run/a</Key>",
    modified: bytes = b"<LastModified>2026-01-01T00:00:00.000Z</LastModified>",
    rest: bytes = NOT_TRUNCATED,
) -> Reply:
    items = b"<Contents>" + key + modified + b"</Contents>"
    body = b"<ListBucketResult><Name>bucket</Name>" + rest + items + b"</ListBucketResult>"
    return Reply(headers=XML, body=body)


EVERY = tuple(ACTIONS)
WITH_CONTENT = tuple(action for action in ACTIONS if not action.startswith("delete"))
PUTS = ("write", "create", "lock")

NO_S3: dict[str, tuple[Reply, tuple[str, ...]]] = {
    "page": (Reply(headers=HTML, body=PAGE), EVERY),
    "page that is XML": (Reply(headers=HTML, body=b"<html><body/></html>"), EVERY),
    **{
        f"page {status}": (Reply(status=status, headers=HTML, body=PAGE), EVERY)
        for status in (400, 403, 404, 405, 500, 501)
    },
    "text 404": (Reply(status=404, body=b"default backend - 404"), EVERY),
    "nothing 400": (Reply(status=400), EVERY),
    "not modified": (Reply(status=304), EVERY),
}  # fmt: skip
"""Refused until S3 has answered once, retryable from then on."""
ELSEWHERE: dict[str, tuple[Reply, tuple[str, ...]]] = {
    "moved": (Reply(status=301, headers={**HTML, **ANYWHERE}, body=PAGE), EVERY),
    "moved to nowhere": (Reply(status=301), EVERY),
    "log in first": (Reply(status=302, headers=ANYWHERE), EVERY),
    "another endpoint": (refusal(301, "PermanentRedirect"), EVERY),
    "for a while": (refusal(307, "TemporaryRedirect", ANYWHERE), EVERY),
    "another region": (
        refusal(301, "PermanentRedirect", {"x-amz-bucket-region": "eu-west-1"}), EVERY,
    ),
}  # fmt: skip
"""Redirects, which are refused too."""
FAILING: dict[str, tuple[Reply, tuple[str, ...]]] = {
    "nothing": (Reply(), WITH_CONTENT),
    "no content": (Reply(status=204), WITH_CONTENT),
    "JSON": (Reply(headers={"Content-Type": "application/json"}, body=b"{}"), EVERY),
    "page 503": (Reply(status=503, headers=HTML, body=PAGE), EVERY),
    "error with status 200": (refusal(200, "InternalError"), EVERY),
    "wrong checksum of ours": (refusal(400, "BadDigest"), EVERY),
    "too little of ours": (refusal(400, "IncompleteBody"), EVERY),
    "empty ETag": (Reply(headers={**GOOD, "ETag": '""'}), ("read", *PUTS)),
    "no ETag": (Reply(headers={"Last-Modified": MODIFIED}), ("read", *PUTS)),
    "no time": (Reply(headers={"ETag": '"1"'}, body=b"body"), ("read",)),
    "no time that can be read": (Reply(headers={**GOOD, "Last-Modified": "soon"}), ("read",)),
    "no date": (Reply(headers={**GOOD, "Date": "soon"}), ("read",)),
    "no length": (Reply(headers={**GOOD, "Content-Length": ""}, body=b"body"), ("read",)),
    "part": (
        Reply(status=206, headers={**GOOD, "Content-Range": "bytes 0-3/9"}, body=b"body"),
        EVERY,
    ),
    "reset": (
        Reply(headers={**GOOD, "Content-Length": "9"}, body=b"abc", is_reset=True), EVERY,
    ),
    "reset at once": (Reply(headers={**GOOD, "Content-Length": "9"}, is_reset=True), EVERY),
    "torn chunks": (
        Reply(
            headers={**GOOD, "Content-Length": "", "Transfer-Encoding": "chunked"}, body=b"zz\r\nab"
        ),
        EVERY,
    ),
    "reset in chunks": (
        Reply(
            headers={**GOOD, "Content-Length": "", "Transfer-Encoding": "chunked"},
            body=b"5\r\nabc",
            is_reset=True,
        ),
        EVERY,
    ),
    "wrong checksum": (
        Reply(headers={**GOOD, "x-amz-checksum-crc32": "AAAAAA=="}, body=b"body"), ("read",),
    ),
    "foreign keys": (listing(key=b"<Key>other/a</Key>"), ("list",)),
    "no key": (listing(key=b""), ("list",)),
    "no time of a key": (listing(modified=b""), ("list",)),
    "bad time of a key": (listing(modified=b"<LastModified>soon</LastModified>"), ("list",)),
    "whole or not?": (listing(rest=b""), ("list",)),
    "next page nowhere": (listing(rest=b"<IsTruncated>true</IsTruncated>"), ("list",)),
    "same page for ever": (
        listing(
            rest=b"<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
        ),
        ("list",),
    ),
    "torn list": (Reply(headers=XML, body=listing().body[:-9]), ("list",)),
    "other XML": (Reply(headers=XML, body=b"<Hello/>"), WITH_CONTENT),
    "bytes": (Reply(headers=XML, body=b"\0\xff"), EVERY),
}  # fmt: skip
"""Retryable: a gateway or proxy that fails answers so."""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def storage_at(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch, max_attempts: int = 1
) -> S3Storage:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
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


def cases(*tables: dict[str, tuple[Reply, tuple[str, ...]]]) -> pytest.MarkDecorator:
    found = [
        pytest.param(reply, action, id=f"{name}-{action}")
        for table in tables
        for name, (reply, actions) in table.items()
        for action in actions
    ]
    return pytest.mark.parametrize(("reply", "action"), found)


@cases(NO_S3)
def test_what_is_no_s3_service_is_refused_with_its_address(
    monkeypatch: pytest.MonkeyPatch, reply: Reply, action: str
) -> None:
    with faulty_server(lambda number: reply) as server:
        error = failure_of(action, storage_at(server, monkeypatch))
    assert not error.is_retryable
    assert f"no S3 API answers at {server.url}" in str(error)
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
