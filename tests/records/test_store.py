"""RecordStore of every kind of records, over a directory and over S3.

Nothing acknowledged is lost, nothing wrong is read.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nasi_ray.errors import NasiRayError, RecordConflictError, RecordCorruptError, StorageError
from nasi_ray.records import IdentityValue, RecordStore, SampleRows, ScoreRows, read_run
from nasi_ray.records import parts as store_parts
from nasi_ray.records import store as store_module
from nasi_ray.records.rows import MAX_MAGNITUDE, ProxyScore, Sample
from nasi_ray.storage import LocalStorage, Storage
from tests.contracts.records import KINDS, Kind, a_score
from tests.contracts.samples import a_sample

IDENTITY: dict[str, IdentityValue] = {"space": "darts", "seed": 0}
SAMPLES, SCORES = KINDS["samples"], KINDS["scores"]


def open_store(storage: Storage, kind: Kind) -> RecordStore[Any, Any]:
    return RecordStore.open(storage, identity=IDENTITY, rows=kind.rows)


def part_names(storage: Storage, kind: Kind) -> list[str]:
    return storage.list(kind.folder)


def test_a_new_store_is_empty(storage: Storage, kind: Kind) -> None:
    store = open_store(storage, kind)
    kind.assert_same(store.read(), kind.table_of([]))
    assert store.missing([3, 1]) == [3, 1]
    assert store.num_parts == 0
    store.compact()
    store.append([])
    assert store.num_parts == 0


def test_samples_come_back_sorted_and_whole(storage: Storage, kind: Kind) -> None:
    samples = [kind.make(i, failed=i % 3 == 0) for i in (7, 2, 9, 0, 4, 3)]
    store = open_store(storage, kind)
    store.append(samples[:4])
    store.append(samples[4:])
    for reader in (store, open_store(storage, kind)):
        kind.assert_same(reader.read(), kind.table_of(samples))
        assert reader.num_parts == 2
    assert store.read().errors == {i: f"overflow in {i}" for i in (0, 3, 9)}


def test_every_bit_of_a_float_survives(local: LocalStorage) -> None:
    odd = np.array([-0.0, 5e-324, MAX_MAGNITUDE, np.nextafter(1, 2), -1 / 3])
    sample = Sample(index=0, status="ok", trace_norm=5e-324, grad=odd, choices=np.arange(4))
    store = open_store(local, SAMPLES)
    store.append([sample])
    SAMPLES.assert_same(store.read(), SAMPLES.table_of([sample]))


def test_every_bit_of_a_score_survives(local: LocalStorage) -> None:
    odd = [-0.0, 5e-324, np.finfo(float).max, float(np.nextafter(1, 2)), -1 / 3]
    scores = [ProxyScore(index=i, status="ok", score=value) for i, value in enumerate(odd)]
    store = open_store(local, SCORES)
    store.append(scores)
    SCORES.assert_same(store.read(), SCORES.table_of(scores))


def test_what_is_read_may_be_written_to(local: LocalStorage, kind: Kind) -> None:
    store = open_store(local, kind)
    store.append([kind.make(1), kind.make(0)])
    table = store.read()
    arrays = [getattr(table, field.name) for field in fields(table)]
    assert all(array.flags.writeable for array in arrays if isinstance(array, np.ndarray))


def test_choices_errors_and_workers_survive_compaction(local: LocalStorage) -> None:
    store = open_store(local, SAMPLES)
    samples = [a_sample(i, failed=i == 1) for i in range(4)]
    store.append(samples[2:])
    store.append(samples[:2])
    store.compact()
    (name,) = part_names(local, SAMPLES)
    rows = pq.read_table(Path(local.uri) / name).to_pylist()
    assert [r["choices"] for r in rows] == [s.choices.tolist() for s in samples]
    assert [r["error"] for r in rows] == [s.error for s in samples]
    assert [r["worker"] for r in rows] == ["worker-0"] * 4
    assert [r["status"] for r in rows] == ["ok", "failed", "ok", "ok"]
    assert rows[1]["grad"] is None
    assert rows[1]["trace_norm"] is None


def test_a_failed_score_is_null_and_no_number(local: LocalStorage) -> None:
    store = open_store(local, SCORES)
    store.append([a_score(0, failed=True), a_score(1)])
    (name,) = part_names(local, SCORES)
    rows = pq.read_table(Path(local.uri) / name).to_pylist()
    assert [r["score"] for r in rows] == [None, a_score(1).score]
    assert [r["error"] for r in rows] == ["overflow in 0", ""]


def test_missing_keeps_order_and_counts_failed_as_done(storage: Storage, kind: Kind) -> None:
    store = open_store(storage, kind)
    store.append([kind.make(1), kind.make(2, failed=True)])
    open_store(storage, kind).append([kind.make(5)])  # another driver, or this one before a restart
    assert store.missing(range(7)) == [0, 3, 4, 6]
    assert store.missing([6, 5, 0]) == [6, 0]
    assert store.missing([]) == []


def test_samples_whose_part_was_deleted_are_missing_again(local: LocalStorage, kind: Kind) -> None:
    store = open_store(local, kind)
    store.append([kind.make(0)])
    (first,) = part_names(local, kind)
    store.append([kind.make(1)])
    local.delete(first)
    assert store.missing(range(3)) == [0, 2]


def test_parts_are_numbered_on_after_reopening(storage: Storage, kind: Kind) -> None:
    for index in range(3):
        open_store(storage, kind).append([kind.make(index)])
    names = [name.removeprefix(kind.folder) for name in part_names(storage, kind)]
    assert [name[: len("part-00000000-")] for name in names] == [
        "part-00000001-", "part-00000002-", "part-00000003-",
    ]  # fmt: skip


def test_an_index_stored_twice_is_kept_once(storage: Storage, kind: Kind) -> None:
    store = open_store(storage, kind)
    store.append([kind.make(1), kind.make(0)])
    store.append([kind.make(1), kind.make(2, failed=True), kind.make(2, failed=True)])
    expected = kind.table_of([kind.make(0), kind.make(1), kind.make(2, failed=True)])
    kind.assert_same(store.read(), expected)
    store.compact()
    kind.assert_same(store.read(), expected)
    assert store.num_parts == 1


def nudged(value: float) -> float:
    return float(np.nextafter(value, 9))


def with_grad(sample: Sample, position: int, value: float) -> Sample:
    grad = sample.grad.copy()
    grad[position] = value
    return replace(sample, grad=grad)


_SAMPLE = with_grad(a_sample(7), 3, 0.0)
_SCORE = a_score(7)
DIFFERENT = {
    "one bit of grad": (SAMPLES, _SAMPLE, with_grad(_SAMPLE, 4, nudged(_SAMPLE.grad[4]))),
    "sign of zero": (SAMPLES, _SAMPLE, with_grad(_SAMPLE, 3, -0.0)),
    "trace_norm": (SAMPLES, _SAMPLE, replace(_SAMPLE, trace_norm=nudged(_SAMPLE.trace_norm))),
    "failed": (SAMPLES, _SAMPLE, a_sample(7, failed=True)),
    "one bit of score": (SCORES, _SCORE, replace(_SCORE, score=nudged(_SCORE.score))),
    "failed score": (SCORES, _SCORE, a_score(7, failed=True)),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_two_different_records_of_an_index_are_named(local: LocalStorage, what: str) -> None:
    kind, one, other = DIFFERENT[what]
    store = open_store(local, kind)
    store.append([kind.make(8)])
    store.append([kind.make(3), one])
    store.append([kind.make(4), other])
    _, first, second = part_names(local, kind)
    for call in (store.read, store.compact):
        with pytest.raises(
            RecordCorruptError, match=f"different {kind.label}s 7, in {first} and {second}"
        ):
            call()
    assert store.num_parts == 3


CONTRADICTIONS = [
    Sample(index=-1, status="ok", trace_norm=1, grad=np.ones(5), choices=np.arange(2)),
    Sample(index=0, status="ok", trace_norm=1, grad=np.ones(4), choices=np.arange(2)),
    Sample(index=0, status="ok", trace_norm=np.nan, grad=np.ones(5), choices=np.arange(2)),
    Sample(index=0, status="ok", trace_norm=1, grad=np.full(5, np.inf), choices=np.arange(2)),
    Sample(index=0, status="ok", trace_norm=1, grad=np.ones(5), choices=np.array([40_000])),
    ProxyScore(index=-1, status="ok", score=1.0),
    ProxyScore(index=0, status="ok", score=float("nan")),
    ProxyScore(index=0, status="ok", score=float("inf")),
    ProxyScore(index=0, status="done", score=1.0),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("row", CONTRADICTIONS)
def test_a_record_that_contradicts_itself_is_not_stored(local: LocalStorage, row: Any) -> None:
    kind = SAMPLES if isinstance(row, Sample) else SCORES
    store = open_store(local, kind)
    with pytest.raises(ValueError, match=r"sample|score|40000"):
        store.append([kind.make(3), row])
    assert store.num_parts == 0


@pytest.mark.parametrize("damage", ["truncate", "empty", "append", "replace"])
def test_a_torn_part_is_named_with_the_remedy(storage: Storage, kind: Kind, damage: str) -> None:
    store = open_store(storage, kind)
    store.append([kind.make(i) for i in range(10)])
    store.append([kind.make(10)])
    name = part_names(storage, kind)[0]
    data = storage.read(name)
    damaged = {
        "truncate": data[:-100], "empty": b"", "append": data + b"\0", "replace": b"PAR1" * 9,
    }[damage]  # fmt: skip
    storage.write(name, damaged)
    fresh = open_store(storage, kind)
    for call in (fresh.read, fresh.compact, lambda: fresh.missing([0])):
        with pytest.raises(RecordCorruptError) as error:
            call()
        assert str(error.value).startswith(f"{storage.uri}/{name} is incomplete or was changed")
        assert str(error.value).endswith(f"delete it to have its {kind.label}s evaluated again")
    storage.delete(name)
    assert open_store(storage, kind).missing(range(11)) == list(range(10))


def test_a_flipped_bit_is_found_wherever_it_is(local: LocalStorage, kind: Kind) -> None:
    store = open_store(local, kind)
    store.append([kind.make(i) for i in range(3)])
    (name,) = part_names(local, kind)
    path = Path(local.uri) / name
    data = bytearray(path.read_bytes())
    for position in range(0, len(data), 13):
        data[position] ^= 1 << (position % 8)
        path.write_bytes(data)
        with pytest.raises(RecordCorruptError, match="incomplete or was changed"):
            store.read()
        data[position] ^= 1 << (position % 8)
    path.write_bytes(data)
    assert len(store.read()) == 3


def test_a_part_of_other_settings_is_named(local: LocalStorage, kind: Kind, tmp_path: Path) -> None:
    other = LocalStorage(tmp_path / "other")
    RecordStore.open(other, identity={"seed": 1}, rows=kind.rows).append([kind.make(0)])
    (name,) = part_names(other, kind)
    open_store(local, kind)
    local.write(name, other.read(name))
    with pytest.raises(
        RecordConflictError, match=f"{local.uri}/{name} holds {kind.label}s of other"
    ):
        open_store(local, kind).read()


@pytest.mark.parametrize(
    ("column", "version", "expected"),
    [
        ("grad", b"2", "has schema version 2, this program reads 1"),
        ("x", b"1", "has other columns"),
    ],
)
def test_a_part_of_another_schema_is_named(
    local: LocalStorage, kind: Kind, column: str, version: bytes, expected: str
) -> None:
    store = open_store(local, kind)
    fingerprint = store._fingerprint.encode()
    metadata = {b"nasi_ray.version": version, b"nasi_ray.fingerprint": fingerprint}
    table = pa.table({column: [1.0]}).replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    data = sink.getvalue().to_pybytes()
    name = store_parts.part_name(kind.folder, 1, data)
    local.write(name, data)
    with pytest.raises(RecordCorruptError, match=f"{name} {expected}"):
        store.read()


def test_a_well_named_file_that_is_no_parquet_is_named(local: LocalStorage, kind: Kind) -> None:
    name = store_parts.part_name(kind.folder, 1, b"hello")
    local.write(name, b"hello")
    with pytest.raises(RecordCorruptError, match=f"{name} is not a record file"):
        open_store(local, kind).read()


def test_foreign_files_are_left_alone_with_one_warning(
    storage: Storage, kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    storage.write(f"{kind.folder}.DS_Store", b"?")
    store = open_store(storage, kind)
    store.append([kind.make(0)])
    store.compact()
    assert len(store.read()) == 1
    assert storage.read(f"{kind.folder}.DS_Store") == b"?"
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == [f"{storage.uri}/{kind.folder}.DS_Store is not a record file; ignored"]


@pytest.mark.parametrize("num_deleted", [0, 1, 2])
def test_a_crash_during_compaction_loses_nothing(
    local: LocalStorage, kind: Kind, monkeypatch: pytest.MonkeyPatch, num_deleted: int
) -> None:
    samples = [kind.make(i, failed=i == 4) for i in range(9)]
    store = open_store(local, kind)
    for start in (0, 3, 6):
        store.append(samples[start : start + 3])
    whole_delete = LocalStorage.delete
    deleted: list[str] = []

    def delete(self: LocalStorage, *names: str) -> None:
        for name in names:
            if len(deleted) == num_deleted:
                raise KeyboardInterrupt
            whole_delete(self, name)
            deleted.append(name)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "delete", delete)
        with pytest.raises(KeyboardInterrupt):
            store.compact()
    reopened = open_store(local, kind)
    assert reopened.num_parts == 4 - num_deleted
    kind.assert_same(reopened.read(), kind.table_of(samples))
    reopened.compact()
    assert reopened.num_parts == 1
    kind.assert_same(reopened.read(), kind.table_of(samples))


def test_a_compaction_that_cannot_write_deletes_nothing(
    local: LocalStorage, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(local, kind)
    store.append([kind.make(0)])
    store.append([kind.make(1)])
    before = part_names(local, kind)

    def fail(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match="No space left"):
            store.compact()
    assert part_names(local, kind) == before


def test_reading_outlives_a_compaction_under_way(
    storage: Storage, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(storage, kind)
    samples = [kind.make(i) for i in range(4)]
    for sample in samples:
        store.append([sample])
    reader = open_store(storage, kind)
    whole_read = type(storage).read
    begun = itertools.count(1)

    def read(self: Storage, name: str) -> bytes:
        if next(begun) == 3:
            store.compact()
        return whole_read(self, name)

    monkeypatch.setattr(type(storage), "read", read)
    kind.assert_same(reader.read(), kind.table_of(samples))


def test_small_parts_are_merged_as_they_come_and_whole_ones_left(
    storage: Storage, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_FULL", 10)
    store = open_store(storage, kind)
    nums = []
    for index in range(40):
        store.append([kind.make(index, failed=index % 7 == 0)])
        store.merge_small()
        nums.append(store.num_parts)
    assert max(nums) <= 16 + 40 // 10
    whole = part_names(storage, kind)[0]
    content = storage.read(whole)
    reopened = open_store(storage, kind)
    reopened.missing([0])
    for index in range(40, 60):
        reopened.append([kind.make(index, failed=index % 7 == 0)])
        reopened.merge_small()
    assert storage.read(whole) == content
    table = kind.table_of([kind.make(i, failed=i % 7 == 0) for i in range(60)])
    kind.assert_same(open_store(storage, kind).read(), table)


def test_a_record_is_written_once_for_each_size_of_its_part(
    local: LocalStorage, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_MAX_SMALL", 4)
    monkeypatch.setattr(store_module, "_FULL", 64)
    store, num_written = open_store(local, kind), Counter[int]()
    add_part = store._add_part

    def count(table: pa.Table) -> str:
        num_written.update(table["index"].to_pylist())
        return add_part(table)

    monkeypatch.setattr(store, "_add_part", count)
    nums = []
    for index in range(150):
        store.append([kind.make(index)])
        store.merge_small()
        store.merge_small()  # the part that was made may be the fourth of its size
        nums.append(store.num_parts)
    # At most three each of 1, 4 and 16 records, and two of 64.
    assert max(nums) == 3 + 3 + 3 + 1
    assert {num_written[i] for i in range(128)} == {4}
    assert max(num_written.values()) == 4
    kind.assert_same(store.read(), kind.table_of([kind.make(i) for i in range(150)]))


def test_a_small_part_that_this_store_wrote_is_not_read_to_merge_it(
    local: LocalStorage, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, names_read = open_store(local, kind), list[str]()
    read = LocalStorage.read

    def note(self: LocalStorage, name: str) -> bytes:
        names_read.append(name)
        return read(self, name)

    monkeypatch.setattr(LocalStorage, "read", note)
    for index in range(16):
        store.append([kind.make(index)])
    store.merge_small()
    assert names_read == part_names(local, kind)  # what was merged is checked
    kind.assert_same(store.read(), kind.table_of([kind.make(i) for i in range(16)]))


def test_a_run_recorded_without_merging_is_merged_step_by_step(
    local: LocalStorage, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_MERGE_PARTS", 20)
    for index in range(70):
        open_store(local, kind).append([kind.make(index)])
    store = open_store(local, kind)
    assert store.missing(range(71)) == [70]
    nums = [store.num_parts]
    while not nums[1:] or nums[-1] < nums[-2]:
        store.merge_small()
        nums.append(store.num_parts)
    assert all(before - after < 20 for before, after in itertools.pairwise(nums))
    assert nums[-1] < 16
    kind.assert_same(store.read(), kind.table_of([kind.make(i) for i in range(70)]))


def test_many_parts_are_compacted_and_few_are_not(local: LocalStorage, kind: Kind) -> None:
    store = open_store(local, kind)
    for index in range(101):
        store.append([kind.make(index)])
        if index == 99:
            store.compact_many()
            assert store.num_parts == 100
    store.compact_many()
    assert store.num_parts == 1
    kind.assert_same(store.read(), kind.table_of([kind.make(i) for i in range(101)]))


MERGES: dict[str, Callable[[RecordStore[Any, Any]], None]] = {
    "compact": RecordStore.compact,
    "merge_small": RecordStore.merge_small,
}


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("fault", ["not stored", "torn"])
def test_parts_go_only_if_what_they_were_merged_to_is_there(
    storage: Storage, kind: Kind, monkeypatch: pytest.MonkeyPatch, merge: str, fault: str
) -> None:
    store = open_store(storage, kind)
    for index in range(16):
        store.append([kind.make(index)])
    before = part_names(storage, kind)
    create = type(storage).create
    with monkeypatch.context() as patch:
        patch.setattr(
            type(storage),
            "create",
            lambda self, name, data: fault == "not stored" or create(self, name, data[:-1]),
        )
        with pytest.raises(StorageError if fault == "not stored" else RecordCorruptError):
            MERGES[merge](store)
    assert set(before) <= set(part_names(storage, kind))


@pytest.mark.parametrize("num_gone", [1, 16])
def test_a_merge_gives_way_to_another_driver_that_merges(
    local: LocalStorage, kind: Kind, monkeypatch: pytest.MonkeyPatch, num_gone: int
) -> None:
    store = open_store(local, kind)
    for index in range(16):
        store.append([kind.make(index)])
    other = open_store(local, kind)
    list_names = LocalStorage.list

    def list_too_late(self: LocalStorage, prefix: str) -> list[str]:
        names = list_names(self, prefix)
        monkeypatch.undo()
        other.compact()
        return names

    monkeypatch.setattr(LocalStorage, "list", list_too_late)
    store.merge_small()
    store.append([kind.make(16)])
    store.merge_small()
    kind.assert_same(store.read(), kind.table_of([kind.make(i) for i in range(17)]))


def test_a_part_that_is_listed_and_cannot_be_read_is_named(
    storage: Storage, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(storage, kind)
    store.append([kind.make(0)])
    store.append([kind.make(1)])
    name = part_names(storage, kind)[1]
    read = type(storage).read

    def read_not_there(self: Storage, asked: str) -> bytes:
        if asked == name:
            raise FileNotFoundError(f"{self.uri}/{asked} does not exist")
        return read(self, asked)

    monkeypatch.setattr(type(storage), "read", read_not_there)
    fresh = open_store(storage, kind)
    for call in (fresh.read, fresh.compact, lambda: fresh.missing([0])):
        with pytest.raises(StorageError, match=f"{name} does not exist, .*delete that file"):
            call()


NO_PART: dict[str, Callable[[Path, Path], object]] = {
    "a link to nothing": lambda path, folder: path.symlink_to(folder / "gone"),
    "a link to itself": lambda path, folder: path.symlink_to(path),
    "a link into a file": lambda path, folder: path.symlink_to(folder / "file" / "x"),
    "a link to a device": lambda path, folder: path.symlink_to("/dev/null"),
    "a fifo": lambda path, folder: os.mkfifo(path),
    "an empty file": lambda path, folder: path.touch(),
}


@pytest.mark.parametrize("what", NO_PART)
def test_what_is_no_part_under_the_name_of_one_is_named(
    local: LocalStorage, kind: Kind, tmp_path: Path, what: str
) -> None:
    store = open_store(local, kind)
    store.append([kind.make(0)])
    name = store_parts.part_name(kind.folder, 2, b"something")
    (tmp_path / "file").touch()
    NO_PART[what](Path(local.uri) / name, tmp_path)
    fresh = open_store(local, kind)
    for call in (fresh.read, fresh.compact, lambda: fresh.missing([0])):
        with pytest.raises(NasiRayError) as caught:
            call()
        assert f"{local.uri}/{name}" in str(caught.value)
        assert re.search("remove it|delete it", str(caught.value)), caught.value
    assert not caught.value.is_retryable


def test_an_append_repeated_after_it_went_through_adds_nothing(
    storage: Storage, kind: Kind
) -> None:
    store = open_store(storage, kind)
    store.append([kind.make(0)])
    again = open_store(storage, kind)
    again._next_number = 1  # as after an append whose acknowledgement was lost
    again.append([kind.make(0)])
    assert store.num_parts == 1
    again.append([kind.make(1)])
    kind.assert_same(store.read(), kind.table_of([kind.make(0), kind.make(1)]))


def test_drivers_that_append_at_once_overwrite_nothing(storage: Storage, kind: Kind) -> None:
    start = threading.Barrier(4)

    def drive(number: int) -> None:
        store = open_store(storage, kind)
        start.wait()
        for index in range(number * 10, number * 10 + 5):
            store.append([kind.make(index)])

    threads = [threading.Thread(target=drive, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    indices = [n * 10 + i for n in range(4) for i in range(5)]
    store = open_store(storage, kind)
    assert store.num_parts == 20
    kind.assert_same(store.read(), kind.table_of([kind.make(i) for i in indices]))


@pytest.mark.integration
@pytest.mark.parametrize("after", [1, 20])
def test_kill_9_loses_nothing_acknowledged(local: LocalStorage, after: int) -> None:
    code = (
        "import sys, itertools\n"
        "from nasi_ray.storage import LocalStorage\n"
        "from nasi_ray.records import RecordStore, SampleRows\n"
        "from tests.contracts.samples import NUM_LOGITS, a_sample\n"
        "store = RecordStore.open(LocalStorage(sys.argv[1]),\n"
        "    identity={'space': 'darts', 'seed': 0}, rows=SampleRows(NUM_LOGITS))\n"
        "for i in itertools.count(0, 8):\n"
        "    store.append([a_sample(j) for j in range(i, i + 8)])\n"
        "    print(i + 8, flush=True)\n"
        "    if i % 80 == 72: store.compact()\n"
    )
    root = Path(__file__).parents[2]
    driver = subprocess.Popen(
        [sys.executable, "-c", code, local.uri], stdout=subprocess.PIPE, text=True, cwd=root
    )
    with driver:
        assert driver.stdout is not None
        for _ in range(after):
            driver.stdout.readline()
        driver.send_signal(signal.SIGKILL)
        acknowledged = max(int(line) for line in [str(after * 8), *driver.stdout] if line.strip())
    table = open_store(local, SAMPLES).read()
    assert table.index[:acknowledged].tolist() == list(range(acknowledged))
    SAMPLES.assert_same(table, SAMPLES.table_of([a_sample(i) for i in table.index.tolist()]))


Step = tuple[str, list[tuple[int, bool]]]
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("append"),
            st.lists(st.integers(0, 12).map(lambda i: (i, i % 4 == 0)), max_size=6),
        ),
        st.tuples(st.sampled_from(["compact", "reopen", "read", "missing"]), st.just([])),
    ),
    max_size=12,
)


@given(steps=steps)
@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_course_of_events_gives_the_table_of_its_samples(
    tmp_path_factory: pytest.TempPathFactory, kind: Kind, steps: list[Step]
) -> None:
    storage = LocalStorage(tmp_path_factory.mktemp("run"))
    store = open_store(storage, kind)
    appended: list[Any] = []
    for action, rows in steps:
        match action:
            case "append":
                samples = [kind.make(index, failed=failed) for index, failed in rows]
                store.append(samples)
                appended += samples
            case "compact":
                store.compact()
                assert store.num_parts <= 1
            case "reopen":
                store = open_store(storage, kind)
            case "read":
                kind.assert_same(store.read(), kind.table_of(appended))
            case "missing":
                done = {s.index for s in appended}
                assert store.missing(range(13)) == [i for i in range(13) if i not in done]
    kind.assert_same(store.read(), kind.table_of(appended))
    kind.assert_same(open_store(storage, kind).read(), kind.table_of(appended))


def test_a_lost_sample_is_missing_and_gives_way_to_one_that_came_out(
    storage: Storage, kind: Kind
) -> None:
    store = open_store(storage, kind)
    lost = replace(kind.make(1, failed=True), status="lost")
    store.append([kind.make(0), lost, kind.make(2, failed=True)])
    assert store.missing(range(4)) == [1, 3]
    assert store.read().errors == {1: lost.error, 2: kind.make(2, failed=True).error}
    store.append([lost, kind.make(1)])
    store.append([lost])
    for reopened in (store, open_store(storage, kind)):
        assert reopened.missing(range(4)) == [3]
        kind.assert_same(
            reopened.read(),
            kind.table_of([kind.make(0), kind.make(1), kind.make(2, failed=True)]),
        )
    store.compact()
    assert store.num_parts == 1
    assert open_store(storage, kind).read().ok.tolist() == [True, True, False]


def test_the_records_of_an_earlier_program_are_read_as_they_were(tmp_path: Path) -> None:
    run = shutil.copytree(Path(__file__).parent / "run_v1", tmp_path / "run")
    store = open_store(LocalStorage(str(run)), SAMPLES)
    lost = replace(a_sample(2, failed=True), status="lost")
    expected = [a_sample(0), a_sample(1, failed=True), lost, a_sample(3)]
    SAMPLES.assert_same(store.read(), SAMPLES.table_of(expected))
    assert store.missing(range(5)) == [2, 4]
    table, space = read_run(str(run))
    SAMPLES.assert_same(table, SAMPLES.table_of(expected))
    assert space == "darts"


def test_a_proxys_part_in_the_folder_of_another_is_named(local: LocalStorage) -> None:
    open_store(local, SCORES).append([a_score(0)])
    (name,) = part_names(local, SCORES)
    local.write(name.replace("naswot", "snip"), local.read(name))
    snip = RecordStore.open(local, identity=IDENTITY, rows=ScoreRows("snip"))
    with pytest.raises(RecordConflictError, match=r"scores/snip/part-.* holds scores of other"):
        snip.read()
    assert len(open_store(local, SCORES).read()) == 1


def test_samples_and_scores_do_not_share_a_run(local: LocalStorage) -> None:
    open_store(local, SCORES)
    open_store(local, SAMPLES).append([a_sample(0)])  # no score was made yet
    with pytest.raises(RecordConflictError, match="holds samples, not scores; use another --out"):
        open_store(local, SCORES)


def test_a_search_is_not_read_of_a_ranking(local: LocalStorage) -> None:
    open_store(local, SCORES).append([a_score(0)])
    with pytest.raises(RecordConflictError, match="holds scores, not samples"):
        open_store(local, SAMPLES)
    with pytest.raises(RecordConflictError, match=r"of a ranking: it holds scores, not samples; n"):
        read_run(local.uri)


@pytest.mark.parametrize("proxy", ["", "a/b", "..", "a b"])
def test_a_proxy_is_no_path(proxy: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        ScoreRows(proxy)


def test_a_sample_has_logits() -> None:
    with pytest.raises(ValueError, match="num_logits is 0"):
        SampleRows(0)
