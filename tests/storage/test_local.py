"""LocalStorage: the contract, and what only a file system does (full disk, kill, permissions)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nasi_ray.errors import RunLockedError, StorageError, StorageRefusedError
from nasi_ray.storage import LOCK_NAME, LocalStorage, Storage
from tests.contracts.storage import ACTIONS, StorageContract


class TestLocalStorage(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return LocalStorage(tmp_path / "runs" / "a")

    @pytest.fixture
    def same_storage(self, tmp_path: Path) -> Storage:
        return LocalStorage(tmp_path / "runs" / "a")


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "run")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    path = tmp_path / "small"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def files_below(path: Path) -> list[str]:
    return sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())


@pytest.mark.integration
@pytest.mark.parametrize("method", ["write", "create"])
def test_a_full_disk_leaves_no_half_file_and_says_so(full_disk: Path, method: str) -> None:
    storage = LocalStorage(full_disk)
    storage.write("a", b"old")
    with pytest.raises(StorageError) as error:
        getattr(storage, method)("b" if method == "create" else "a", b"x" * 100_000)
    assert str(error.value).startswith(f"cannot write {full_disk}/")
    assert error.value.is_retryable
    assert "No space left on device; free some space" in str(error.value)
    assert "\n" not in str(error.value)
    assert files_below(full_disk) == ["a"]
    assert storage.read("a") == b"old"
    storage.write("c", b"x" * 30_000)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_failing_fsync_fails_the_write(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    storage.write("a", b"old")

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=os.strerror(number)):
        storage.write("a", b"new")
    assert files_below(Path(storage.uri)) == ["a"]
    assert storage.read("a") == b"old"


def test_a_short_write_is_continued(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: whole_write(fd, data[:7]))
    storage.write("a", b"0123456789" * 10)
    assert storage.read("a") == b"0123456789" * 10


def test_data_and_directories_are_synced_before_write_returns(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    whole_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        whole_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    storage.write("samples/a", b"1")
    root = storage.uri
    assert [os.path.dirname(root), root] == synced[:2]
    assert synced[2].startswith(f"{root}/samples/.tmp-")
    assert synced[3:] == [f"{root}/samples"]


@pytest.mark.parametrize("name", ["a", "samples/a"])
def test_a_create_is_done_only_once_its_directory_is_synced(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The call after one whose fsync of a directory failed makes up for it."""
    storage.write("other", b"")
    directory = (Path(storage.uri) / name).parent
    synced: list[str] = []
    whole_fsync = os.fsync
    failing = {storage.uri, str(directory)}

    def fsync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path in failing:
            failing.remove(path)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        synced.append(path)
        whole_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    while failing:
        with pytest.raises(StorageError):
            storage.create(name, b"1")
    synced.clear()
    storage.create(name, b"1")
    assert synced[-1] == str(directory)
    assert storage.read(name) == b"1"


def test_a_directory_that_was_not_synced_is_made_anew(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write("other", b"")
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        if len(synced) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError):
        storage.create("samples/a", b"1")
    assert storage.create("samples/a", b"1") is True
    assert synced[:2] == [storage.uri, storage.uri]
    assert synced[3:] == [f"{storage.uri}/samples"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_hard_links_is_named_as_one(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*args: object, **places: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    expected = rf"^cannot write {storage.uri}/a: .* has no hard links .*; use another directory$"
    with pytest.raises(StorageRefusedError, match=expected):
        storage.create("a", b"")
    assert files_below(Path(storage.uri)) == []


@pytest.mark.parametrize("action", list(ACTIONS))
def test_a_file_in_place_of_the_directory_is_one_line(tmp_path: Path, action: str) -> None:
    (tmp_path / "run").write_text("a file")
    storage = LocalStorage(tmp_path / "run")
    with pytest.raises(StorageRefusedError, match=rf"^cannot \w+ {tmp_path}/run[^\n]*$"):
        ACTIONS[action](storage)


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.EACCES, "make it writable"), (errno.EROFS, "make it writable"), (errno.EIO, "$")],
)
def test_a_refused_write_names_path_reason_and_remedy(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def refuse(*args: object) -> int:
        raise OSError(number, os.strerror(number))

    storage.write("b", b"")
    monkeypatch.setattr(os, "open", refuse)
    expected = rf"cannot write {storage.uri}/a: {os.strerror(number)}.*{advice}"
    with pytest.raises(StorageError, match=expected) as error:
        storage.write("a", b"")
    assert error.value.is_retryable is (number == errno.EIO)


def test_of_many_creators_one_wins(storage: LocalStorage) -> None:
    start = threading.Barrier(8)
    won: list[int] = []

    def create(number: int) -> None:
        start.wait()
        if storage.create("identity.json", b"%d" % number):
            won.append(number)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert storage.read("identity.json") == b"%d" % won[0]
    assert files_below(Path(storage.uri)) == ["identity.json"]


@pytest.mark.integration
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_the_kernel_releases_the_lock_of_a_dead_driver(
    storage: LocalStorage, end: signal.Signals
) -> None:
    code = (
        "import sys, time; from nasi_ray.storage import LocalStorage\n"
        "with LocalStorage(sys.argv[1]).lock(): print('locked', flush=True); time.sleep(60)"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", code, storage.uri], stdout=subprocess.PIPE, text=True
    )
    with driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "locked\n"
        driver.send_signal(end)
        if end == signal.SIGSTOP:  # stopped is not dead
            with pytest.raises(RunLockedError, match=f"pid {driver.pid} "), storage.lock():
                pass
            driver.kill()
        driver.wait()
    with storage.lock():
        pass


def test_a_fifo_in_the_run_directory_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "identity.json")
    with pytest.raises(StorageRefusedError, match=r"identity\.json: it is not a regular file"):
        LocalStorage(tmp_path).read("identity.json")


def store_and_delete(storage: LocalStorage) -> None:
    storage.write("a/b", b"")
    storage.delete("a/b")


TOO_LONG = "b/" + "x" * 300
STORED: dict[str, Callable[[LocalStorage], object]] = {
    "nothing": lambda storage: None,
    "a failed write": lambda storage: storage.write(TOO_LONG, b""),
    "a file": lambda storage: storage.create("a", b"1"),
    "a file below": lambda storage: storage.create("a/b/c", b"1"),
    "a file, and a failed write": lambda storage: (
        storage.create("a", b"1") and storage.create(TOO_LONG, b"")
    ),
    "what is deleted again": store_and_delete,
}


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("made_before", ["", "up", "up/runs", "up/runs/a"])
def test_a_run_that_stores_nothing_takes_away_what_it_made_and_no_more(
    tmp_path: Path, stored: str, made_before: str
) -> None:
    (tmp_path / made_before).mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    storage = LocalStorage(tmp_path / "up" / "runs" / "a")
    with contextlib.suppress(StorageError), storage.lock():
        STORED[stored](storage)
        raise StorageError("the run failed")
    if "a file" in stored:
        assert storage.list("")
        assert not (Path(storage.uri) / "b").exists()
        return
    kept = {path for path in tmp_path.rglob("*") if path.name != LOCK_NAME}
    assert sorted(kept) == before
    if made_before != "up/runs/a":
        assert sorted(tmp_path.rglob("*")) == before


def test_a_directory_in_which_another_wrote_meanwhile_is_kept(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "run")
    with storage.lock():
        (tmp_path / "run" / "notes.txt").write_text("mine")
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_lock_file_that_went_while_it_was_opened_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    runs = [tmp_path / "run" / LOCK_NAME]

    def flock_too_late(descriptor: int, operation: int) -> None:
        if runs:
            runs.pop().unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_too_late)
    (tmp_path / "run").mkdir()
    again = LocalStorage(tmp_path / "run")
    with LocalStorage(tmp_path / "run").lock(), pytest.raises(RunLockedError), again.lock():
        pass


def test_a_file_that_comes_while_it_is_looked_for_is_missing_and_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(tmp_path)
    open_now = os.open

    def open_late(path: object, *args: int, **kwargs: int) -> int:
        if path == "name":
            (tmp_path / "name").write_bytes(b"late")
            raise FileNotFoundError(errno.ENOENT, "not yet", "name")
        return open_now(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", open_late)
    with pytest.raises(FileNotFoundError):
        storage.read("name")
    monkeypatch.undo()
    assert storage.read("name") == b"late"
