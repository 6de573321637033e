"""open_storage: which names of a run directory are taken, and what is said of the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nasi_ray.errors import ConfigError, StorageError
from nasi_ray.storage import open_storage


def test_a_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_storage("runs/a").uri == f"{tmp_path}/runs/a"
    assert open_storage("runs/../b/").uri == f"{tmp_path}/b"
    assert open_storage(f"{tmp_path}/c").uri == f"{tmp_path}/c"


def test_tilde_is_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert open_storage("~/runs/a").uri == "/home/someone/runs/a"


def test_opening_writes_nothing(tmp_path: Path) -> None:
    open_storage(str(tmp_path / "a"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        ("s3://bucket/runs/a", "s3://bucket/runs/a"),
        ("s3://bucket/runs/a/", "s3://bucket/runs/a"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
    ],
)
def test_an_s3_uri_is_bucket_and_prefix(
    monkeypatch: pytest.MonkeyPatch, given: str, uri: str
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    assert open_storage(given).uri == uri


@pytest.mark.parametrize(
    "given",
    [
        "", " ", "a\0b", "gs://b/p", "file:///tmp/a", "hdfs://x", "s3:/bucket/a", "S3://bucket/a",
        "s3:bucket", "s3://", "s3:///a", "s3://UPPER/a", "s3://b/a", "s3://bucket/../a",
        "s3://bucket/a/../b", "s3://bucket//a", "s3://bucket/a//b", "s3://bucket/./a",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_what_is_allowed(given: str) -> None:
    with pytest.raises(ConfigError, match="s3://bucket/prefix") as error:
        open_storage(given)
    assert repr(given) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("AWS_PROFILE", "nobody", "correct AWS_PROFILE"),
        ("AWS_ENDPOINT_URL", "nonsense", "correct AWS_ENDPOINT_URL"),
    ],
)
def test_settings_that_make_no_client_are_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match=f"cannot use s3://bucket/a: .*{value}.*{expected}"):
        open_storage("s3://bucket/a")
