"""RecordStore over a directory and over S3: nothing acknowledged is lost, nothing wrong is read."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nasi_ray.errors import RecordConflictError, RecordCorruptError, StorageError
from nasi_ray.records import Sample, SampleTable
from nasi_ray.storage import LocalStorage, Storage
from nasi_ray.store import IdentityValue, RecordStore
from nasi_ray.store import parts as store_parts
from tests.contracts.samples import NUM_LOGITS, a_sample, assert_same_table

IDENTITY: dict[str, IdentityValue] = {"space": "darts", "seed": 0}


def open_store(storage: Storage, num_logits: int = NUM_LOGITS) -> RecordStore:
    return RecordStore.open(storage, identity=IDENTITY, num_logits=num_logits)


def part_names(storage: Storage) -> list[str]:
    return storage.list("samples/")


def table_of(samples: list[Sample]) -> SampleTable:
    return SampleTable.from_samples(samples, NUM_LOGITS)


def test_a_new_store_is_empty(storage: Storage) -> None:
    store = open_store(storage)
    assert_same_table(store.read(), table_of([]))
    assert store.missing([3, 1]) == [3, 1]
    assert store.num_parts == 0
    store.compact()
    store.append([])
    assert store.num_parts == 0


def test_samples_come_back_sorted_and_whole(storage: Storage) -> None:
    samples = [a_sample(i, failed=i % 3 == 0) for i in (7, 2, 9, 0, 4, 3)]
    store = open_store(storage)
    store.append(samples[:4])
    store.append(samples[4:])
    for reader in (store, open_store(storage)):
        assert_same_table(reader.read(), table_of(samples))
        assert reader.num_parts == 2
    assert store.read().errors == {i: f"overflow in {i}" for i in (0, 3, 9)}


def test_every_bit_of_a_float_survives(local: LocalStorage) -> None:
    odd = np.array([-0.0, 5e-324, np.finfo(float).max, np.nextafter(1, 2), -1 / 3])
    sample = Sample(index=0, status="ok", trace_norm=5e-324, grad=odd, choices=np.arange(4))
    store = open_store(local)
    store.append([sample])
    assert_same_table(store.read(), table_of([sample]))


def test_what_is_read_may_be_written_to(local: LocalStorage) -> None:
    store = open_store(local)
    store.append([a_sample(1), a_sample(0)])
    table = store.read()
    for array in (table.index, table.ok, table.trace_norm, table.grad, table.seconds):
        assert array.flags.writeable


def test_choices_errors_and_workers_survive_compaction(local: LocalStorage) -> None:
    store = open_store(local)
    samples = [a_sample(i, failed=i == 1) for i in range(4)]
    store.append(samples[2:])
    store.append(samples[:2])
    store.compact()
    (name,) = part_names(local)
    rows = pq.read_table(Path(local.uri) / name).to_pylist()
    assert [r["choices"] for r in rows] == [s.choices.tolist() for s in samples]
    assert [r["error"] for r in rows] == [s.error for s in samples]
    assert [r["worker"] for r in rows] == ["worker-0"] * 4
    assert [r["status"] for r in rows] == ["ok", "failed", "ok", "ok"]
    assert rows[1]["grad"] is None
    assert rows[1]["trace_norm"] is None


def test_missing_keeps_order_and_counts_failed_as_done(storage: Storage) -> None:
    store = open_store(storage)
    store.append([a_sample(1), a_sample(2, failed=True)])
    open_store(storage).append([a_sample(5)])  # another driver, or this one before a restart
    assert store.missing(range(7)) == [0, 3, 4, 6]
    assert store.missing([6, 5, 0]) == [6, 0]
    assert store.missing([]) == []


def test_samples_whose_part_was_deleted_are_missing_again(local: LocalStorage) -> None:
    store = open_store(local)
    store.append([a_sample(0)])
    (first,) = part_names(local)
    store.append([a_sample(1)])
    local.delete(first)
    assert store.missing(range(3)) == [0, 2]


def test_parts_are_numbered_on_after_reopening(storage: Storage) -> None:
    for index in range(3):
        open_store(storage).append([a_sample(index)])
    assert [name[: len("samples/part-00000000-")] for name in part_names(storage)] == [
        "samples/part-00000001-", "samples/part-00000002-", "samples/part-00000003-",
    ]  # fmt: skip


def test_an_index_stored_twice_is_kept_once(storage: Storage) -> None:
    store = open_store(storage)
    store.append([a_sample(1), a_sample(0)])
    store.append([a_sample(1), a_sample(2, failed=True), a_sample(2, failed=True)])
    expected = table_of([a_sample(0), a_sample(1), a_sample(2, failed=True)])
    assert_same_table(store.read(), expected)
    store.compact()
    assert_same_table(store.read(), expected)
    assert store.num_parts == 1


@pytest.mark.parametrize("what", ["one bit of grad", "sign of zero", "trace_norm", "failed"])
def test_two_different_samples_of_an_index_are_named(local: LocalStorage, what: str) -> None:
    one = a_sample(7)
    grad, trace_norm = one.grad.copy(), one.trace_norm
    one.grad[3] = grad[3] = 0.0
    match what:
        case "one bit of grad":
            grad[4] = np.nextafter(grad[4], 9)
        case "sign of zero":
            grad[3] = -0.0
        case "trace_norm":
            trace_norm = float(np.nextafter(trace_norm, 9))
    other = (
        a_sample(7, failed=True)
        if what == "failed"
        else Sample(index=7, status="ok", trace_norm=trace_norm, grad=grad, choices=one.choices)
    )
    store = open_store(local)
    store.append([a_sample(8)])
    store.append([a_sample(3), one])
    store.append([a_sample(4), other])
    _, first, second = part_names(local)
    for call in (store.read, store.compact):
        with pytest.raises(
            RecordCorruptError, match=f"different samples 7, in {first} and {second}"
        ):
            call()
    assert store.num_parts == 3


@pytest.mark.parametrize(
    "sample",
    [
        Sample(index=-1, status="ok", trace_norm=1, grad=np.ones(5), choices=np.arange(2)),
        Sample(index=0, status="ok", trace_norm=1, grad=np.ones(4), choices=np.arange(2)),
        Sample(index=0, status="ok", trace_norm=np.nan, grad=np.ones(5), choices=np.arange(2)),
        Sample(index=0, status="ok", trace_norm=1, grad=np.full(5, np.inf), choices=np.arange(2)),
        Sample(index=0, status="ok", trace_norm=1, grad=np.ones(5), choices=np.array([40_000])),
    ],
)
def test_a_sample_that_contradicts_itself_is_not_stored(
    local: LocalStorage, sample: Sample
) -> None:
    store = open_store(local)
    with pytest.raises(ValueError, match=r"sample|40000"):
        store.append([a_sample(3), sample])
    assert store.num_parts == 0


@pytest.mark.parametrize("damage", ["truncate", "empty", "append", "replace"])
def test_a_torn_part_is_named_with_the_remedy(storage: Storage, damage: str) -> None:
    store = open_store(storage)
    store.append([a_sample(i) for i in range(10)])
    store.append([a_sample(10)])
    name = part_names(storage)[0]
    data = storage.read(name)
    damaged = {
        "truncate": data[:-100], "empty": b"", "append": data + b"\0", "replace": b"PAR1" * 9,
    }[damage]  # fmt: skip
    storage.write(name, damaged)
    fresh = open_store(storage)
    for call in (fresh.read, fresh.compact, lambda: fresh.missing([0])):
        with pytest.raises(RecordCorruptError) as error:
            call()
        assert str(error.value).startswith(f"{storage.uri}/{name} is torn or was altered")
        assert str(error.value).endswith("delete it to have its samples evaluated again")
    storage.delete(name)
    assert open_store(storage).missing(range(11)) == list(range(10))


def test_a_flipped_bit_is_found_wherever_it_is(local: LocalStorage) -> None:
    store = open_store(local)
    store.append([a_sample(i) for i in range(3)])
    (name,) = part_names(local)
    path = Path(local.uri) / name
    data = bytearray(path.read_bytes())
    for position in range(0, len(data), 7):
        data[position] ^= 1 << (position % 8)
        path.write_bytes(data)
        with pytest.raises(RecordCorruptError, match="torn or was altered"):
            store.read()
        data[position] ^= 1 << (position % 8)
    path.write_bytes(data)
    assert len(store.read()) == 3


def test_a_part_of_other_settings_is_named(local: LocalStorage, tmp_path: Path) -> None:
    other = LocalStorage(tmp_path / "other")
    RecordStore.open(other, identity={"seed": 1}, num_logits=NUM_LOGITS).append([a_sample(0)])
    (name,) = part_names(other)
    open_store(local)
    local.write(name, other.read(name))
    with pytest.raises(RecordConflictError, match=f"{local.uri}/{name} holds samples of other"):
        open_store(local).read()


@pytest.mark.parametrize(
    ("column", "version", "expected"),
    [
        ("grad", b"2", "has schema version 2, this program reads 1"),
        ("x", b"1", "has other columns"),
    ],
)
def test_a_part_of_another_schema_is_named(
    local: LocalStorage, column: str, version: bytes, expected: str
) -> None:
    store = open_store(local)
    fingerprint = store._fingerprint.encode()
    metadata = {b"nasi_ray.version": version, b"nasi_ray.fingerprint": fingerprint}
    table = pa.table({column: [1.0]}).replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    data = sink.getvalue().to_pybytes()
    name = store_parts.part_name(1, data)
    local.write(name, data)
    with pytest.raises(RecordCorruptError, match=f"{name} {expected}"):
        store.read()


def test_a_well_named_file_that_is_no_parquet_is_named(local: LocalStorage) -> None:
    name = store_parts.part_name(1, b"hello")
    local.write(name, b"hello")
    with pytest.raises(RecordCorruptError, match=f"{name} is no record file"):
        open_store(local).read()


def test_foreign_files_are_left_alone_with_one_warning(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    storage.write("samples/.DS_Store", b"?")
    store = open_store(storage)
    store.append([a_sample(0)])
    store.compact()
    assert len(store.read()) == 1
    assert storage.read("samples/.DS_Store") == b"?"
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == [f"{storage.uri}/samples/.DS_Store is no record file; left alone"]


@pytest.mark.parametrize("num_deleted", [0, 1, 2])
def test_a_crash_during_compaction_loses_nothing(
    local: LocalStorage, monkeypatch: pytest.MonkeyPatch, num_deleted: int
) -> None:
    samples = [a_sample(i, failed=i == 4) for i in range(9)]
    store = open_store(local)
    for start in (0, 3, 6):
        store.append(samples[start : start + 3])
    whole_delete = LocalStorage.delete
    deleted: list[str] = []

    def delete(self: LocalStorage, name: str) -> None:
        if len(deleted) == num_deleted:
            raise KeyboardInterrupt
        whole_delete(self, name)
        deleted.append(name)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "delete", delete)
        with pytest.raises(KeyboardInterrupt):
            store.compact()
    reopened = open_store(local)
    assert reopened.num_parts == 4 - num_deleted
    assert_same_table(reopened.read(), table_of(samples))
    reopened.compact()
    assert reopened.num_parts == 1
    assert_same_table(reopened.read(), table_of(samples))


def test_a_compaction_that_cannot_write_deletes_nothing(
    local: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(local)
    store.append([a_sample(0)])
    store.append([a_sample(1)])
    before = part_names(local)

    def fail(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match="No space left"):
            store.compact()
    assert part_names(local) == before


def test_reading_outlives_a_compaction_under_way(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(storage)
    samples = [a_sample(i) for i in range(4)]
    for sample in samples:
        store.append([sample])
    reader = open_store(storage)
    whole_read = type(storage).read
    names_read = []

    def read(self: Storage, name: str) -> bytes:
        names_read.append(name)
        if len(names_read) == 3:
            store.compact()
        return whole_read(self, name)

    monkeypatch.setattr(type(storage), "read", read)
    assert_same_table(reader.read(), table_of(samples))


def test_an_append_repeated_after_it_went_through_adds_nothing(storage: Storage) -> None:
    store = open_store(storage)
    store.append([a_sample(0)])
    again = open_store(storage)
    again._next_number = 1  # as after an append whose acknowledgement was lost
    again.append([a_sample(0)])
    assert store.num_parts == 1
    again.append([a_sample(1)])
    assert_same_table(store.read(), table_of([a_sample(0), a_sample(1)]))


def test_drivers_that_append_at_once_overwrite_nothing(storage: Storage) -> None:
    start = threading.Barrier(4)

    def drive(number: int) -> None:
        store = open_store(storage)
        start.wait()
        for index in range(number * 10, number * 10 + 5):
            store.append([a_sample(index)])

    threads = [threading.Thread(target=drive, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    indices = [n * 10 + i for n in range(4) for i in range(5)]
    store = open_store(storage)
    assert store.num_parts == 20
    assert_same_table(store.read(), table_of([a_sample(i) for i in indices]))


@pytest.mark.integration
@pytest.mark.parametrize("after", [1, 20])
def test_kill_9_loses_nothing_acknowledged(local: LocalStorage, after: int) -> None:
    code = (
        "import sys, itertools\n"
        "from nasi_ray.storage import LocalStorage\n"
        "from nasi_ray.store import RecordStore\n"
        "from tests.contracts.samples import NUM_LOGITS, a_sample\n"
        "store = RecordStore.open(LocalStorage(sys.argv[1]),\n"
        "    identity={'space': 'darts', 'seed': 0}, num_logits=NUM_LOGITS)\n"
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
    table = open_store(local).read()
    assert table.index[:acknowledged].tolist() == list(range(acknowledged))
    assert_same_table(table, table_of([a_sample(i) for i in table.index.tolist()]))


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
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_course_of_events_gives_the_table_of_its_samples(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    storage = LocalStorage(tmp_path_factory.mktemp("run"))
    store = open_store(storage)
    appended: list[Sample] = []
    for action, rows in steps:
        match action:
            case "append":
                samples = [a_sample(index, failed=failed) for index, failed in rows]
                store.append(samples)
                appended += samples
            case "compact":
                store.compact()
                assert store.num_parts <= 1
            case "reopen":
                store = open_store(storage)
            case "read":
                assert_same_table(store.read(), table_of(appended))
            case "missing":
                done = {s.index for s in appended}
                assert store.missing(range(13)) == [i for i in range(13) if i not in done]
    assert_same_table(store.read(), table_of(appended))
    assert_same_table(open_store(storage).read(), table_of(appended))


def test_a_lost_sample_is_missing_and_gives_way_to_one_that_came_out(storage: Storage) -> None:
    store = open_store(storage)
    lost = replace(a_sample(1, failed=True), status="lost")
    store.append([a_sample(0), lost, a_sample(2, failed=True)])
    assert store.missing(range(4)) == [1, 3]
    assert store.read().errors == {1: lost.error, 2: a_sample(2, failed=True).error}
    store.append([lost, a_sample(1)])
    store.append([lost])
    for reopened in (store, open_store(storage)):
        assert reopened.missing(range(4)) == [3]
        assert_same_table(
            reopened.read(),
            SampleTable.from_samples(
                [a_sample(0), a_sample(1), a_sample(2, failed=True)], NUM_LOGITS
            ),
        )
    store.compact()
    assert store.num_parts == 1
    assert open_store(storage).read().ok.tolist() == [True, True, False]
