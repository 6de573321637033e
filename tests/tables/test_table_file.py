from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nasi_ray.errors import DataError
from nasi_ray.tables.table_file import check_source, replacing

TABLE = pa.table({"x": [1.0, 2.0]})


def test_a_table_takes_the_targets_place(tmp_path: Path) -> None:
    target = tmp_path / "table.parquet"
    target.write_bytes(b"old")
    with replacing(target) as write:
        assert target.read_bytes() == b"old"
        write(TABLE)
    assert pq.read_table(target).equals(TABLE)
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError("torn"), ZeroDivisionError])
def test_whatever_ends_the_work_leaves_the_target(
    tmp_path: Path, error: type[BaseException] | BaseException
) -> None:
    target = tmp_path / "table.parquet"
    target.write_bytes(b"old")
    expected = error if isinstance(error, type) else type(error)
    with pytest.raises(expected), replacing(target):
        raise error
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_ctrl_c_in_the_middle_of_writing_leaves_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "table.parquet") as write:
        write(TABLE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none/table.parquet", "No such file or directory"),
        ("file/table.parquet", "Not a directory"),
        ("folder", "it is not a file"),
        ("pipe", "it is not a file"),
        ("x" * 250, "File name too long"),
        ("a\0b", "null byte"),
    ],
)
def test_targets_that_cannot_be_written_are_told_before_the_work(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with (
        pytest.raises(DataError, match=f"cannot be written: .*{reason}"),
        replacing(tmp_path / name),
    ):
        pytest.fail("the work was begun")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("mounting a small file system takes root and CAP_SYS_ADMIN")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_full_disk_is_told_and_leaves_the_target(small_disk: Path) -> None:
    target = small_disk / "table.parquet"
    target.write_bytes(b"old")
    noise = pa.table({"x": np.random.default_rng(0).random(1_000_000)})
    reason = "table.parquet cannot be written: No space left on device"
    with pytest.raises(DataError, match=reason), replacing(target) as write:
        write(noise)
    assert target.read_bytes() == b"old"
    assert list(small_disk.iterdir()) == [target]


def test_sources_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"there is no .*none; give a file"):
        check_source(tmp_path / "none", tmp_path / "t")
    for name in ("pipe", ""):
        with pytest.raises(DataError, match="cannot be read; give a file"):
            check_source(tmp_path / name, tmp_path / "t")
    assert check_source(tmp_path, tmp_path / "t", folder_allowed=True) == tmp_path


def test_a_target_that_is_the_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "source")
    for name in ("source", "link"):
        with pytest.raises(DataError, match="is the source, which would be lost"):
            check_source(tmp_path / "source", tmp_path / name)


@pytest.mark.parametrize("name", ["victim", "nothing"])
def test_a_target_that_is_a_link_is_refused_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / name)
    with (
        pytest.raises(DataError, match="link cannot be written: it is a link; name the file its"),
        replacing(tmp_path / "link"),
    ):
        pytest.fail("the work was begun")
    assert sorted(os.listdir(tmp_path)) == ["link", "victim"]
    assert (tmp_path / "victim").read_bytes() == b"precious"
