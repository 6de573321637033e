"""What every ``Storage`` keeps to; a test module subclasses this and supplies the fixture."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nasi_ray.errors import RunLockedError
from nasi_ray.storage import LOCK_NAME, Storage


def _lock(storage: Storage) -> None:
    with storage.lock():
        pass


ACTIONS: dict[str, Callable[[Storage], object]] = {
    "list": lambda storage: storage.list(""),
    "read": lambda storage: storage.read("a"),
    "write": lambda storage: storage.write("a", b""),
    "create": lambda storage: storage.create("a", b""),
    "delete": lambda storage: storage.delete("a"),
    "delete many": lambda storage: storage.delete("a", "b"),
    "lock": _lock,
}
"""Everything that touches a storage, to show how each fails."""


class StorageContract:
    """Needs the fixtures ``storage`` (empty) and ``same_storage`` (a second driver's view)."""

    def test_what_is_written_is_read(self, storage: Storage, same_storage: Storage) -> None:
        data = bytes(range(256)) * 1000
        storage.write("samples/a.parquet", data)
        assert same_storage.read("samples/a.parquet") == data

    def test_empty_content_is_content(self, storage: Storage) -> None:
        storage.write("empty", b"")
        assert storage.read("empty") == b""
        assert storage.list("") == ["empty"]

    def test_write_replaces(self, storage: Storage) -> None:
        storage.write("a", b"a long first content")
        storage.write("a", b"2")
        assert storage.read("a") == b"2"

    def test_create_takes_only_a_free_name(self, storage: Storage, same_storage: Storage) -> None:
        assert storage.create("x/a", b"1") is True
        assert same_storage.create("x/a", b"2") is False
        assert same_storage.create("x/a", b"1") is False
        assert storage.read("x/a") == b"1"

    def test_a_missing_name_is_file_not_found(self, storage: Storage) -> None:
        with pytest.raises(FileNotFoundError, match=r"nothing/here does not exist"):
            storage.read("nothing/here")

    def test_list_is_by_prefix_of_the_name_and_sorted(self, storage: Storage) -> None:
        for name in ("samples/b", "samples/a", "samples2/c", "samples/deep/d", "z"):
            storage.write(name, b"")
        assert storage.list("samples/") == ["samples/a", "samples/b", "samples/deep/d"]
        assert storage.list("sam") == ["samples/a", "samples/b", "samples/deep/d", "samples2/c"]
        assert storage.list("samples/d") == ["samples/deep/d"]
        assert storage.list("") == [
            "samples/a", "samples/b", "samples/deep/d", "samples2/c", "z",
        ]  # fmt: skip
        assert storage.list("none/") == []

    def test_list_of_an_unused_storage_is_empty(self, storage: Storage) -> None:
        assert storage.list("") == []

    def test_delete_removes_and_may_be_repeated(self, storage: Storage) -> None:
        storage.write("a", b"1")
        storage.delete("a")
        storage.delete("a")
        storage.delete("never/was")
        assert storage.list("") == []
        assert storage.create("a", b"2") is True

    def test_many_names_are_deleted_and_no_other(self, storage: Storage) -> None:
        names = [f"d/{n}" for n in range(5)]
        for name in ("kept", *names):
            storage.write(name, b"1")
        storage.delete(*names, "never/was")
        assert storage.list("") == ["kept"]
        storage.delete()

    @pytest.mark.parametrize("name", ["", "/a", "a/", "../a", "a/../b", "a//b", "./a", LOCK_NAME])
    def test_names_stay_inside(self, storage: Storage, name: str) -> None:
        for call in (
            lambda: storage.read(name),
            lambda: storage.write(name, b""),
            lambda: storage.create(name, b""),
            lambda: storage.delete(name),
            lambda: storage.delete("a", name),
        ):
            with pytest.raises(ValueError, match="name"):
                call()

    @pytest.mark.parametrize("name", ["with space", "Ümläut", "100%+&?#=.txt", "a'\"b"])
    def test_odd_names_work(self, storage: Storage, name: str) -> None:
        storage.write(f"d/{name}", b"1")
        assert storage.list("d/") == [f"d/{name}"]
        assert storage.read(f"d/{name}") == b"1"

    def test_one_driver_at_a_time(self, storage: Storage, same_storage: Storage) -> None:
        with storage.lock():
            with (
                pytest.raises(RunLockedError, match=r"written by pid \d+ on .+ since 20\d\d-"),
                same_storage.lock(),
            ):
                pass
            storage.write("a", b"1")
        with same_storage.lock():
            same_storage.write("a", b"2")
        assert storage.read("a") == b"2"

    def test_a_failing_driver_releases_the_lock(
        self, storage: Storage, same_storage: Storage
    ) -> None:
        with pytest.raises(ZeroDivisionError), storage.lock():
            _ = 1 / 0
        with same_storage.lock():
            pass

    def test_the_lock_is_not_listed(self, storage: Storage) -> None:
        with storage.lock():
            assert storage.list("") == []
