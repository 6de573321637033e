"""Links and other special files in a run directory: nothing of anybody's is written or removed.

The files that a run writes are not listed by hand: every call of ``os`` that makes or changes one
is recorded, so that a file added later is tried too.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nasi_ray
from nasi_ray.errors import NasiRayError, RecordCorruptError, StorageError, StorageRefusedError
from nasi_ray.records import RecordStore, SampleRows, ScoreRows
from nasi_ray.storage import LOCK_NAME, LocalStorage
from nasi_ray.storage.lock_file import open_lock_file
from tests.contracts.records import a_score
from tests.contracts.samples import NUM_LOGITS, a_sample

TOKEN = "0123456789abcdef"


def use(path: Path) -> None:
    """All that a search or a ranking does with its directory."""
    storage = LocalStorage(path)
    with storage.lock():
        store = RecordStore.open(storage, identity={"seed": 0}, rows=SampleRows(NUM_LOGITS))
        store.missing(range(2))
        store.append([a_sample(0)])
        store.append([a_sample(1)])
        store.compact()
        for _ in range(2):
            storage.write("result.json", b"{}")
    storage = LocalStorage(path / "ranking")
    with storage.lock():
        scores = RecordStore.open(storage, identity={"seed": 0}, rows=ScoreRows("snip"))
        scores.append([a_score(0)])
        scores.read()


@pytest.fixture(autouse=True)
def _same_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda num_bytes: TOKEN[: 2 * num_bytes])


def written_places(path: Path, patch: pytest.MonkeyPatch) -> set[str]:
    """Names below ``path`` that ``use`` opens for writing, makes, replaces or removes."""
    found: set[str] = set()

    def record(name: Any, dir_fd: int | None) -> None:
        folder = os.readlink(f"/proc/self/fd/{dir_fd}") if dir_fd is not None else ""
        full = Path(folder) / os.fsdecode(name)
        if full.is_relative_to(path) and full != path:
            found.add(full.relative_to(path).as_posix())

    def recorded(
        whole: Callable[..., Any], places: Callable[[tuple[Any, ...], dict[str, Any]], Any]
    ) -> Callable[..., Any]:
        def call(*args: Any, **keywords: Any) -> Any:
            for name, dir_fd in places(args, keywords):
                record(name, dir_fd)
            return whole(*args, **keywords)

        return call

    def opened(args: tuple[Any, ...], keywords: dict[str, Any]) -> list[tuple[Any, Any]]:
        changes = args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        return [(args[0], keywords.get("dir_fd"))] if changes else []

    def one(args: tuple[Any, ...], keywords: dict[str, Any]) -> list[tuple[Any, Any]]:
        return [(args[0], keywords.get("dir_fd"))]

    def two(args: tuple[Any, ...], keywords: dict[str, Any]) -> list[tuple[Any, Any]]:
        return [(args[0], keywords.get("src_dir_fd")), (args[1], keywords.get("dst_dir_fd"))]

    places = {
        "open": opened, "mkdir": one, "unlink": one, "rmdir": one, "truncate": one,
        "replace": two, "rename": two, "link": two, "symlink": two,
    }  # fmt: skip
    with patch.context() as recording:
        for name, names_of in places.items():
            recording.setattr(os, name, recorded(getattr(os, name), names_of))
        use(path)
    return found


def plant_symlink(place: Path, victim: Path) -> None:
    place.symlink_to(victim)


def plant_dangling_link(place: Path, victim: Path) -> None:
    place.symlink_to(victim.with_name("nothing yet"))


def plant_hard_link(place: Path, victim: Path) -> None:
    place.hardlink_to(victim)


def plant_link_to_folder(place: Path, victim: Path) -> None:
    place.symlink_to(victim.parent)


def plant_fifo(place: Path, victim: Path) -> None:
    os.mkfifo(place)


PLANTS = [
    plant_symlink, plant_dangling_link, plant_hard_link, plant_link_to_folder, plant_fifo,
]  # fmt: skip


def failure_of(path: Path) -> NasiRayError | None:
    try:
        use(path)
    except (StorageError, RecordCorruptError) as error:
        return error
    return None


@pytest.mark.parametrize("plant", PLANTS)
def test_whatever_lies_where_a_run_writes_no_other_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[Path, Path], None]
) -> None:
    places = written_places(tmp_path / "tried", monkeypatch)
    parts = {place for place in places if "/part-" in place}
    folders = {"samples", "ranking", "ranking/scores", "ranking/scores/snip"}
    temp = f".tmp-{os.getpid()}-{TOKEN}"
    assert len(parts) == 4
    assert places - parts == folders | {
        LOCK_NAME, "identity.json", "result.json", f"ranking/{LOCK_NAME}", "ranking/identity.json",
        temp, f"samples/{temp}", f"ranking/{temp}", f"ranking/scores/snip/{temp}",
    }  # fmt: skip
    for number, place in enumerate(sorted(places)):
        if place == "ranking":
            continue  # a run directory, which may be a link
        home = tmp_path / f"home{number}"
        home.mkdir()
        (home / "victim").write_bytes(b"precious")
        run = tmp_path / f"run{number}"
        (run / place).parent.mkdir(parents=True)
        plant(run / place, home / "victim")
        error = failure_of(run)
        if error is None:
            # A rename takes the place of one name of a file and leaves the others.
            assert plant is plant_hard_link, place
        else:
            assert not error.is_retryable, place
            assert "\n" not in str(error)
            if not place.endswith(temp):  # nobody can foresee its name
                assert place in str(error), place
                assert re.search("remove it|delete it|another", str(error)), place
        assert (home / "victim").read_bytes() == b"precious", place
        assert os.listdir(home) == ["victim"], place


@pytest.mark.parametrize("action", ["list", "read", "create", "write", "delete"])
def test_a_linked_folder_in_a_run_is_refused_by_every_action(tmp_path: Path, action: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "a").write_bytes(b"precious")
    run = LocalStorage(tmp_path / "run")
    run.write("other", b"")
    (tmp_path / "run" / "samples").symlink_to(home)
    calls: dict[str, Callable[[], object]] = {
        "list": lambda: run.list("samples/"),
        "read": lambda: run.read("samples/a"),
        "create": lambda: run.create("samples/b", b""),
        "write": lambda: run.write("samples/a", b""),
        "delete": lambda: run.delete("samples/a"),
    }
    with pytest.raises(
        StorageRefusedError, match=r"run/samples: it is a link where a directory .* another run dir"
    ):
        calls[action]()
    assert (home / "a").read_bytes() == b"precious"
    assert os.listdir(home) == ["a"]


def test_links_may_lead_to_the_run_directory(tmp_path: Path) -> None:
    (tmp_path / "disk" / "runs").mkdir(parents=True)
    (tmp_path / "runs").symlink_to(tmp_path / "disk" / "runs")
    (tmp_path / "disk" / "runs" / "latest").symlink_to("first")
    (tmp_path / "disk" / "runs" / "first").mkdir()
    use(tmp_path / "runs" / "latest")
    assert (tmp_path / "disk" / "runs" / "first" / "result.json").exists()


def test_a_link_to_nothing_is_named_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "identity.json").symlink_to(tmp_path / "nothing")
    with pytest.raises(StorageRefusedError, match=r"identity\.json: it is a broken link; remove"):
        LocalStorage(tmp_path).read("identity.json")


def test_a_file_that_is_a_link_may_be_read(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"1")
    (tmp_path / "a").symlink_to("archive")
    assert LocalStorage(tmp_path).read("a") == b"1"


def test_a_socket_is_no_lock_file(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "lock"))
        with pytest.raises(StorageRefusedError, match="lock: it is a link or not a regular file"):
            open_lock_file(tmp_path / "lock")


def test_other_failures_of_a_lock_file_keep_their_errno(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(OSError, match="Not a directory") as caught:
        open_lock_file(tmp_path / "run" / "lock")
    assert caught.value.errno == errno.ENOTDIR


OURS = ".tmp-123-0123456789abcdef"
FOREIGN = [
    ".tmp-notes", ".tmp-1-old", ".tmp-123-0123456789abcde", ".tmp-123-0123456789ABCDEF",
    ".tmp-x-0123456789abcdef", ".tmp-123-0123456789abcdef.py", "a.tmp-123-0123456789abcdef",
]  # fmt: skip


def test_only_old_temporary_files_of_ours_go_and_only_beside_what_is_written(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    use(run)
    folders = [run, run / "samples", run / "mine", run / "mine" / "deep", run / "samples" / "deep"]
    for folder in folders:
        folder.mkdir(exist_ok=True)
        for name in (OURS, *FOREIGN):
            (folder / name).write_bytes(b"half")
        old = time.time() - 3600
        for path in folder.iterdir():
            if path.is_file():
                os.utime(path, (old, old))
        (folder / OURS.replace("123", "124")).write_bytes(b"young")
    (run / "samples" / OURS.replace("123", "125")).symlink_to("gone")
    use(run)
    for folder in folders:
        names = os.listdir(folder)
        assert (OURS not in names) == (folder in (run, run / "samples")), folder
        assert {*FOREIGN, OURS.replace("123", "124")} <= set(names), folder
    assert LocalStorage(run).list("samples/deep/") == [f"samples/deep/{FOREIGN[-1]}"]


WRITES = re.compile(
    r"\.write_(text|bytes)\(|\.(touch|symlink_to|hardlink_to)\(|O_(WRONLY|RDWR|CREAT)"
    r"|\bopen\([^()]*[\"'][wxa]b?\+?[\"']|\bFileHandler\("
)
OWN_WRITERS = {
    "storage/local.py": "files of runs, pages, pictures",
    "storage/lock_file.py": "locks",
    "tables/table_file.py": "tables; tests/tables/test_table_file.py",
    "pool/temp_dir.py": "locks in directories of its own",
    "run/process.py": "/dev/null",
}


def test_nothing_else_opens_files_for_writing() -> None:
    package = Path(nasi_ray.__file__).parent
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if WRITES.search(path.read_text())
    }
    assert found == OWN_WRITERS.keys()
