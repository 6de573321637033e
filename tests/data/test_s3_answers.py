"""Whatever answers in the place of S3 while data are read: one line of ours, and no other data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nasi_ray.data.open import open_images
from nasi_ray.data.s3_path import list_s3, read_data
from nasi_ray.errors import StorageError
from nasi_ray.run.identity import find_source
from nasi_ray.storage import s3_files
from nasi_ray.storage.s3_files import S3Object
from tests.contracts.faulty_server import FaultyServer, Reply, faulty_server
from tests.contracts.s3_answers import ELSEWHERE, FAILING, GOOD, NO_S3, cases, listing
from tests.contracts.s3_server import quick_client, set_environment
from tests.data.encoded import png, write_parquet

pytestmark = [
    pytest.mark.integration,
    # botocore leaves open the connection of an answer that it cannot parse.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.usefixtures("collected"),
]

URI = "s3://bucket/run/a"
ABOUT = S3Object("bucket", "run/a", 4, '"1"')
READS: dict[str, Callable[[], object]] = {
    "list": lambda: list_s3("s3://bucket/run"),
    "read": lambda: read_data(URI, 100),
    "part": lambda: ABOUT.open(4).read(),
}
"""Everything that asks S3 for data."""


def as_part(reply: Reply, span: str = "bytes 0-3/4") -> Reply:
    """The same answer to a request for the first four bytes; errors stay as they are."""
    if reply.status != 200:
        return reply
    return dataclasses.replace(reply, status=206, headers={**reply.headers, "Content-Range": span})


BODY = Reply(headers=GOOD, body=b"body")
SHORT = dataclasses.replace(BODY, body=b"bod")
NO_PARTS = {
    "the whole": BODY,
    "less": as_part(SHORT, "bytes 0-2/4"),
    "less than it says": as_part(SHORT),
    "another part": as_part(BODY, "bytes 4-7/9"),
    "no such part": as_part(BODY, "hello"),
    **{
        name: as_part(reply)
        for name, (reply, actions) in FAILING.items()
        if "read" in actions and reply.status != 206
    },
}
"""What is no answer to a request for a part."""


@pytest.fixture(autouse=True)
def _quick_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(s3_files, "make_client", lambda uri: quick_client(max_attempts=1))
    s3_files._objects.cache_clear()
    yield
    s3_files._objects.cache_clear()


def failure_of(
    read: Callable[[], object], server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> StorageError:
    set_environment(monkeypatch, server.url)
    with pytest.raises(StorageError) as caught:
        read()
    line = str(caught.value)
    assert line.startswith(("cannot list s3://bucket/run", "cannot read s3://bucket/run"))
    assert "\n" not in line
    assert len(line) < 500
    return caught.value


@cases(FAILING, only=("list", "read"))
def test_an_answer_that_lacks_what_makes_it_one_is_retryable(
    monkeypatch: pytest.MonkeyPatch, reply: Reply, action: str
) -> None:
    with faulty_server(lambda number: reply) as server:
        error = failure_of(READS[action], server, monkeypatch)
    assert error.is_retryable
    assert "try again" in str(error)


@pytest.mark.parametrize("name", NO_PARTS)
def test_a_part_that_is_not_the_one_asked_for_is_retryable(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with faulty_server(lambda number: NO_PARTS[name]) as server:
        error = failure_of(READS["part"], server, monkeypatch)
    assert error.is_retryable
    assert "try again" in str(error)


@pytest.mark.parametrize("read", READS)
@cases(NO_S3, ELSEWHERE, only=("read",))
def test_what_is_no_s3_service_is_refused(
    monkeypatch: pytest.MonkeyPatch, reply: Reply, action: str, read: str
) -> None:
    with faulty_server(lambda number: reply) as server:
        error = failure_of(READS[read], server, monkeypatch)
    assert not error.is_retryable
    assert "correct AWS_" in str(error)


@pytest.mark.parametrize(
    ("action", "reply"), [("list", listing()), ("read", BODY), ("part", as_part(BODY))]
)
def test_a_good_answer_is_read(monkeypatch: pytest.MonkeyPatch, action: str, reply: Reply) -> None:
    with faulty_server(lambda number: reply) as server:
        set_environment(monkeypatch, server.url)
        found = READS[action]()
    assert action == "list" or found == b"body"


@cases(FAILING, only=("read",))
def test_a_data_set_names_the_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: Reply, action: str
) -> None:
    path = write_parquet(tmp_path / "a.parquet", [png(0), png(1)], [0, 1])
    size = f"<Size>{path.stat().st_size}</Size>".encode()
    found = listing(key=b"<Key>run/a.parquet</Key>", size=size)
    with faulty_server(lambda number: reply if number else found) as server:
        error = failure_of(lambda: open_images("s3://bucket/run"), server, monkeypatch)
    assert error.is_retryable
    assert str(error).startswith("cannot read s3://bucket/run/a.parquet: ")


@cases(FAILING, only=("list",))
def test_a_stamp_is_of_what_is_listed(
    monkeypatch: pytest.MonkeyPatch, reply: Reply, action: str
) -> None:
    with faulty_server(lambda number: reply) as server:
        failure_of(lambda: find_source("s3://bucket/run"), server, monkeypatch)
