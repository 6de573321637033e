"""What may answer in the place of S3, and which actions on a storage it is no answer to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.contracts.faulty_server import MODIFIED, Reply
from tests.contracts.storage import ACTIONS

Table = dict[str, tuple[Reply, tuple[str, ...]]]
"""Name -> an answer, and the actions that it must not satisfy."""

HTML = {"Content-Type": "text/html; charset=utf-8"}
XML = {"Content-Type": "application/xml"}
GOOD = {"ETag": '"1"', "Last-Modified": MODIFIED}
PAGE = b"<!doctype html><html><body>hello<br></body></html>"
NOT_TRUNCATED = b"<IsTruncated>false</IsTruncated>"
ANYWHERE = {"Location": "http://127.0.0.1:9/"}


def refusal(status: int, code: str, headers: dict[str, str] | None = None) -> Reply:
    """An error as S3 words it."""
    body = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()
    return Reply(status=status, headers={**XML, **(headers or {})}, body=body)


def listing(
    key: bytes = b"<Key>run/a</Key>",
    modified: bytes = b"<LastModified>2026-01-01T00:00:00.000Z</LastModified>",
    size: bytes = b"<Size>4</Size>",
    etag: bytes = b'<ETag>"1"</ETag>',
    rest: bytes = NOT_TRUNCATED,
) -> Reply:
    """A list of one object."""
    items = b"<Contents>" + key + modified + size + etag + b"</Contents>"
    body = b"<ListBucketResult><Name>bucket</Name>" + rest + items + b"</ListBucketResult>"
    return Reply(headers=XML, body=body)


EVERY = tuple(ACTIONS)
WITH_CONTENT = tuple(action for action in ACTIONS if not action.startswith("delete"))
PUTS = ("write", "create", "lock")

NO_S3: Table = {
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
ELSEWHERE: Table = {
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
FAILING: Table = {
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
    "no size of a key": (listing(size=b""), ("list",)),
    "no ETag of a key": (listing(etag=b""), ("list",)),
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


def cases(*tables: Table, only: Sequence[str] = EVERY) -> pytest.MarkDecorator:
    """Parametrise ``reply`` and ``action`` with the rows of tables.

    Args:
        tables: At least one.
        only: Actions that are tried.
    """
    found = [
        pytest.param(reply, action, id=f"{name}-{action}")
        for table in tables
        for name, (reply, actions) in table.items()
        for action in actions
        if action in only
    ]
    return pytest.mark.parametrize(("reply", "action"), found)
