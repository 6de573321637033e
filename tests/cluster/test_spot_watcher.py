from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nasi_ray.cluster.spot_watcher import (
    Metadata,
    MetadataError,
    Notice,
    main,
    only_one,
    parse_notice,
    watch,
)
from tests.cluster.imds_server import FakeMetadata, fake_metadata

NOTICE = '{"action": "terminate", "time": "2026-01-01T00:02:00Z"}'
NOTICE_END_S = 1767225720.0


@pytest.fixture
def fake() -> Iterator[FakeMetadata]:
    with fake_metadata() as fake:
        yield fake


class Steps:
    """A sleep that changes the world instead: one change a poll, then a failure."""

    def __init__(self, *changes: Callable[[], object]) -> None:
        self.left = list(changes)

    def __call__(self, seconds: float) -> None:
        assert self.left, "watched longer than the test has changes for"
        self.left.pop(0)()


def nothing() -> None:
    pass


def test_a_notice_drains_once_with_its_deadline(fake: FakeMetadata) -> None:
    drained: list[Notice] = []
    steps = Steps(nothing, lambda: fake.values.update({"spot/instance-action": NOTICE}))
    assert watch(Metadata(fake.url), drained.append, sleep=steps)
    assert drained == [Notice(action="terminate", end_s=NOTICE_END_S)]
    assert fake.asked.count("spot/instance-action") == 3


def test_an_instance_that_is_not_spot_is_not_watched(
    fake: FakeMetadata, caplog: pytest.LogCaptureFixture
) -> None:
    fake.values["instance-life-cycle"] = "on-demand"
    drained: list[Notice] = []
    with caplog.at_level(logging.INFO):
        assert not watch(Metadata(fake.url), drained.append, sleep=Steps())
    assert not drained
    assert fake.asked[-1] == "instance-life-cycle"
    assert caplog.messages == ["nothing to watch: the instance is on-demand"]


def test_a_token_that_expired_is_renewed(fake: FakeMetadata) -> None:
    metadata = Metadata(fake.url)
    assert metadata.get("instance-life-cycle") == "spot"
    fake.expire_tokens()
    assert metadata.get("instance-life-cycle") == "spot"
    assert metadata.get("nothing/there") is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500, 503])
def test_a_service_that_refuses_is_an_error_and_no_value(fake: FakeMetadata, status: int) -> None:
    metadata = Metadata(fake.url)
    fake.status = status
    with pytest.raises(MetadataError):
        metadata.get("spot/instance-action")


def test_a_service_that_hangs_cuts_off_or_is_not_there_is_an_error(fake: FakeMetadata) -> None:
    fake.delay_s = 1.0
    with pytest.raises(MetadataError, match="timed out"):
        Metadata(fake.url, timeout_s=0.05).get("spot/instance-action")
    fake.delay_s, fake.cuts_off = 0.0, True
    with pytest.raises(MetadataError):
        Metadata(fake.url, timeout_s=0.2).get("spot/instance-action")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(MetadataError, match="refused"):
        Metadata(f"http://127.0.0.1:{port}").get("spot/instance-action")


def test_no_proxy_is_asked(fake: FakeMetadata, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert Metadata(fake.url).get("instance-life-cycle") == "spot"


def test_failures_of_the_service_are_survived_and_told_once(
    fake: FakeMetadata, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        fake.status = 503

    def recover() -> None:
        fake.status = 200
        fake.expire_tokens()
        fake.values["spot/instance-action"] = NOTICE

    drained: list[Notice] = []
    steps = Steps(fail, nothing, nothing, recover)
    assert watch(Metadata(fake.url), drained.append, sleep=steps)
    assert len(drained) == 1
    assert len([m for m in caplog.messages if "HTTP 503" in m]) == 1


def test_a_drain_that_fails_is_tried_again(
    fake: FakeMetadata, caplog: pytest.LogCaptureFixture
) -> None:
    fake.values["spot/instance-action"] = NOTICE
    tries: list[Notice] = []

    def drain(notice: Notice) -> None:
        tries.append(notice)
        if len(tries) < 3:
            raise ConnectionError("the head is not there")

    assert watch(Metadata(fake.url), drain, sleep=Steps(nothing, nothing))
    assert len(tries) == 3
    assert "not drained: the head is not there" in caplog.messages[0]


def test_a_rebalance_recommendation_is_logged_once_and_drains_nothing(
    fake: FakeMetadata, caplog: pytest.LogCaptureFixture
) -> None:
    fake.values["events/recommendations/rebalance"] = '{"noticeTime": "2026-01-01T00:00:00Z"}'
    drained: list[Notice] = []

    def end() -> None:
        assert not drained
        fake.values["spot/instance-action"] = NOTICE

    with caplog.at_level(logging.INFO):
        assert watch(Metadata(fake.url), drained.append, sleep=Steps(nothing, nothing, end))
    assert len([m for m in caplog.messages if "rebalance" in m]) == 1


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"action": "stop", "time": "soon"}', "{"]
)
def test_a_notice_that_cannot_be_read_ends_in_two_minutes(text: str) -> None:
    assert parse_notice(text, now_s=1000.0).end_s == 1120.0


def test_one_watcher_holds_the_lock(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with only_one(path) as is_first, only_one(path) as is_second:
        assert (is_first, is_second) == (True, False)
    with only_one(path) as is_only:
        assert is_only


@pytest.mark.parametrize("plant", [Path.symlink_to, Path.hardlink_to])
def test_a_lock_file_that_is_a_link_is_refused_and_its_target_kept(
    tmp_path: Path, plant: Callable[[Path, Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    victim, lock = tmp_path / "victim", tmp_path / "lock"
    victim.write_text("precious")
    plant(lock, victim)
    assert main(["--address=h:1", f"--lock={lock}"]) == 1
    assert f"cannot lock {lock}: it" in caplog.text
    assert "remove it; or give another --lock" in caplog.text
    assert victim.read_text() == "precious"


def test_whatever_the_service_says_is_one_line_of_the_log(
    fake: FakeMetadata,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])  # pytest's own
    fake.values["instance-life-cycle"] = "none\x1b[2J\nerror: forged"
    argv = ["--address=h:1", f"--metadata-url={fake.url}", f"--lock={tmp_path / 'lock'}"]
    assert main(argv) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(r"the instance is none\x1b[2J\nerror: forged")
