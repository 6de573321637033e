"""RecordWriter: when it appends, and what it keeps when that fails."""

from __future__ import annotations

import logging
import os
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nasi_ray.errors import RunLockedError, StorageError
from nasi_ray.records import RecordStore, RecordWriter
from nasi_ray.storage import LocalStorage, Storage
from tests.contracts.records import Kind


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(local: LocalStorage, kind: Kind) -> RecordStore[Any, Any]:
    return RecordStore.open(local, identity={}, rows=kind.rows)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Has every write fail, until undone."""

    def fail(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", fail)
    return monkeypatch


def test_samples_wait_for_the_interval(
    store: RecordStore[Any, Any], kind: Kind, clock: Clock
) -> None:
    writer = RecordWriter(store, flush_interval_s=2, clock=clock)
    writer.add([kind.make(0)])
    clock.now += 1.9
    writer.add([kind.make(1)])
    assert (writer.num_waiting, store.num_parts) == (2, 0)
    clock.now += 0.2
    writer.add([])
    assert (writer.num_waiting, store.num_parts) == (0, 1)
    assert store.missing(range(3)) == [2]


def test_many_samples_do_not_wait(store: RecordStore[Any, Any], kind: Kind, clock: Clock) -> None:
    writer = RecordWriter(store, max_buffered=3, clock=clock)
    writer.add([kind.make(0), kind.make(1)])
    assert store.num_parts == 0
    writer.add([kind.make(2), kind.make(3)])
    assert (writer.num_waiting, store.num_parts) == (0, 1)


def test_flush_with_nothing_waiting_writes_nothing(
    store: RecordStore[Any, Any], kind: Kind, clock: Clock
) -> None:
    RecordWriter(store, clock=clock).flush()
    assert store.num_parts == 0


def test_leaving_flushes(store: RecordStore[Any, Any], kind: Kind, clock: Clock) -> None:
    with RecordWriter(store, clock=clock) as writer:
        writer.add([kind.make(0)])
        assert store.num_parts == 0
    assert store.missing([0]) == []


def test_leaving_by_an_error_flushes_too(
    store: RecordStore[Any, Any], kind: Kind, clock: Clock
) -> None:
    writer = RecordWriter(store, clock=clock)
    writer.add([kind.make(0)])
    with pytest.raises(ZeroDivisionError), writer:
        _ = 1 / 0
    assert store.missing([0]) == []


def test_what_could_not_be_written_waits_and_is_written_later(
    store: RecordStore[Any, Any], kind: Kind, clock: Clock, broken: pytest.MonkeyPatch
) -> None:
    writer = RecordWriter(store, flush_interval_s=2, max_buffered=2, clock=clock)
    with pytest.raises(StorageError, match="No space left"):
        writer.add([kind.make(0), kind.make(1)])
    assert writer.num_waiting == 2
    writer.add([kind.make(2)])  # not tried again for every sample
    assert writer.num_waiting == 3
    with pytest.raises(StorageError):
        writer.flush()
    clock.now += 2
    with pytest.raises(StorageError):
        writer.add([])
    assert writer.num_waiting == 3
    broken.undo()
    writer.flush()
    assert writer.num_waiting == 0
    assert store.missing(range(4)) == [3]
    writer.add([kind.make(3), kind.make(4)])
    assert writer.num_waiting == 0


def test_a_failure_on_leaving_is_raised(
    store: RecordStore[Any, Any], kind: Kind, clock: Clock, broken: pytest.MonkeyPatch
) -> None:
    writer = RecordWriter(store, clock=clock)
    with pytest.raises(StorageError, match="No space left"), writer:
        writer.add([kind.make(0)])
    assert writer.num_waiting == 1


def test_a_failure_on_leaving_hides_no_other_error(
    store: RecordStore[Any, Any],
    kind: Kind,
    clock: Clock,
    broken: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    writer = RecordWriter(store, clock=clock)
    writer.add([kind.make(0)])
    with pytest.raises(ZeroDivisionError), writer:
        _ = 1 / 0
    assert [r.levelno for r in caplog.records] == [logging.ERROR]
    assert f"1 {kind.noun}s are lost: cannot write" in caplog.text


def test_samples_wait_also_when_the_run_was_taken(
    local: LocalStorage,
    store: RecordStore[Any, Any],
    kind: Kind,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: Storage, name: str, data: bytes) -> bool:
        raise RunLockedError("taken over")

    monkeypatch.setattr(type(local), "create", refuse)
    writer = RecordWriter(store, max_buffered=1, clock=clock)
    with pytest.raises(RunLockedError):
        writer.add([kind.make(0)])
    assert writer.num_waiting == 1


def test_an_append_whose_answer_was_lost_is_not_stored_twice(
    local: LocalStorage,
    store: RecordStore[Any, Any],
    kind: Kind,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create = LocalStorage.create

    def answer_lost(self: LocalStorage, name: str, data: bytes) -> bool:
        create(self, name, data)
        raise StorageError("no answer")

    writer = RecordWriter(store, clock=clock)
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "create", answer_lost)
        writer.add([kind.make(0), kind.make(1)])
        with pytest.raises(StorageError):
            writer.flush()
        writer.add([kind.make(2)])
    writer.flush()
    assert writer.num_waiting == 0
    parts = [local.read(name) for name in local.list(kind.folder)]
    stored = [
        i for part in parts for i in pq.read_table(pa.BufferReader(part))["index"].to_pylist()
    ]
    assert sorted(stored) == [0, 1, 2]
