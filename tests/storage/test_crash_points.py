"""A driver killed at any point of any storage operation leaves the old state or the new one.

Each operation runs in a child process that ends without any clean-up before or after its n-th call
that changes a file, for every n.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from nasi_ray.records import RecordStore, SampleRows
from nasi_ray.records import store as store_module
from nasi_ray.storage import LocalStorage
from tests.contracts.samples import NUM_LOGITS, a_sample, assert_same_table

pytestmark = pytest.mark.integration

CHANGES = ("open", "write", "fsync", "replace", "link", "unlink", "mkdir", "rmdir", "ftruncate")
SURVIVED = 0
KILLED = 9


def store_of(path: Path) -> RecordStore[Any, Any]:
    rows = SampleRows(NUM_LOGITS)
    return RecordStore.open(LocalStorage(path), identity={"seed": 0}, rows=rows)


def contents(path: Path) -> dict[str, bytes]:
    storage = LocalStorage(path)
    return {name: storage.read(name) for name in storage.list("")}


def lock_and_release(path: Path) -> None:
    with LocalStorage(path).lock():
        pass


def compact(path: Path) -> None:
    store_of(path).compact()


def merge_small(path: Path) -> None:
    store = store_of(path)
    store.missing([0])
    with mock.patch.object(store_module, "_MAX_SMALL", 2):
        store.merge_small()


OPERATIONS: dict[str, Callable[[Path], object]] = {
    "write a new name": lambda path: LocalStorage(path).write("new/deep/a", b"1" * 9999),
    "replace": lambda path: LocalStorage(path).write("old", b"2" * 9999),
    "create": lambda path: LocalStorage(path).create("new/deep/a", b"1" * 9999),
    "create a taken name": lambda path: LocalStorage(path).create("old", b"2"),
    "delete": lambda path: LocalStorage(path).delete("old"),
    "lock": lock_and_release,
    "append": lambda path: store_of(path).append([a_sample(2), a_sample(3)]),
    "compact": compact,
    "merge small parts": merge_small,
}
MERGES = ("compact", "merge small parts")


def prepare(path: Path) -> None:
    store = store_of(path)
    store.append([a_sample(0)])
    store.append([a_sample(1)])
    store.append([a_sample(4)])
    LocalStorage(path).write("old", b"0" * 9999)


def killed_at(point: int, operation: Callable[[Path], object], path: Path) -> int:
    """Run in a child that dies at a point (even: before a call, odd: after it); its status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        calls = 0

        def dying(whole: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **keywords: Any) -> Any:
                nonlocal calls
                if calls == point:
                    os._exit(KILLED)
                result = whole(*args, **keywords)
                if calls + 1 == point:
                    os._exit(KILLED)
                calls += 2
                return result

            return call

        for name in CHANGES:
            setattr(os, name, dying(getattr(os, name)))
        operation(path)
        status = SURVIVED
    finally:
        os._exit(status)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_kill_at_any_point_leaves_the_old_state_or_the_new(tmp_path: Path, name: str) -> None:
    operation = OPERATIONS[name]
    prepare(tmp_path / "prepared")
    shutil.copytree(tmp_path / "prepared", tmp_path / "whole")
    before = contents(tmp_path / "whole")
    operation(tmp_path / "whole")
    after = contents(tmp_path / "whole")
    samples = store_of(tmp_path / "whole").read()
    allowed = [before, after]
    if name in MERGES:  # parts go in any order, once all is in the new one
        old = before.keys() - after.keys()
        assert len(old) == 3
        allowed += [
            {key: data for key, data in (before | after).items() if key not in gone}
            for num in range(len(old))
            for gone in itertools.combinations(old, num)
        ]
    point = 0
    while True:
        path = shutil.copytree(tmp_path / "prepared", tmp_path / str(point))
        status = killed_at(point, operation, path)
        assert status in (SURVIVED, KILLED)
        if status == SURVIVED:
            break
        assert contents(path) in allowed, point
        # A second try finds nothing in its way and comes to the same end.
        lock_and_release(path)
        operation(path)
        if name not in ("append", *MERGES):  # which may store records twice
            assert contents(path) == after, point
        assert_same_table(store_of(path).read(), samples)
        point += 1
    assert point >= 4
