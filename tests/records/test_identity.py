"""The identity of a run: written once, compared ever after."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from nasi_ray.errors import RecordConflictError, RecordCorruptError
from nasi_ray.records import (
    MeasurementRows,
    RecordStore,
    SampleRows,
    ScoreRows,
    read_identity,
)
from nasi_ray.records.identity import establish, fingerprint
from nasi_ray.storage import LocalStorage, Storage
from tests.contracts.records import a_score
from tests.contracts.samples import a_sample

IDENTITY: dict[str, Any] = {
    "batch_size": 64, "data": "random", "seed": 0, "temperature": 0.1, "shape": (3, 32),
    "note": None,
}  # fmt: skip


def test_the_first_open_writes_it_and_later_ones_agree(storage: Storage) -> None:
    assert read_identity(storage) is None
    RecordStore.open(storage, identity=IDENTITY, rows=SampleRows(84))
    written = storage.read("identity.json")
    RecordStore.open(storage, identity=dict(reversed(IDENTITY.items())), rows=SampleRows(84))
    assert storage.read("identity.json") == written
    assert read_identity(storage) == ({**IDENTITY, "shape": [3, 32]}, {"num_logits": 84})


@pytest.mark.parametrize(
    ("changes", "num_logits", "held", "asked"),
    [
        ({"batch_size": 32, "seed": 1}, 84, "batch_size=64, seed=0", "batch_size=32, seed=1"),
        ({"data": "CIFAR10"}, 84, 'data="random"', 'data="CIFAR10"'),
        ({"temperature": 0.2}, 60, "num_logits=84, temperature=0.1", "num_logits=60, temp"),
        ({"shape": (3, 64)}, 84, "shape=[3,32]", "shape=[3,64]"),
        ({"seed": 0.0}, 84, "seed=0", "seed=0.0"),
        ({"seed": False}, 84, "seed=0", "seed=false"),
        ({"added": "x"}, 84, "no added", 'added="x"'),
    ],
)
def test_every_difference_is_named_with_both_values(
    local: LocalStorage, changes: dict[str, Any], num_logits: int, held: str, asked: str
) -> None:
    store = RecordStore.open(local, identity=IDENTITY, rows=SampleRows(84))
    store.append([a_sample(0, num_logits=84)])
    with pytest.raises(RecordConflictError) as error:
        RecordStore.open(local, identity={**IDENTITY, **changes}, rows=SampleRows(num_logits))
    line = str(error.value)
    assert line.startswith(f"{local.uri} holds samples made with {held}; asked for {asked}")
    assert line.endswith(": use another --out or the same settings")


def test_a_field_that_is_gone_is_a_difference(local: LocalStorage) -> None:
    store = RecordStore.open(local, identity={"a": 1, "b": 2}, rows=SampleRows(1))
    store.append([a_sample(0, num_logits=1)])
    with pytest.raises(RecordConflictError, match="made with b=2; asked for no b:"):
        RecordStore.open(local, identity={"a": 1}, rows=SampleRows(1))


def test_settings_that_made_no_sample_bind_nobody(storage: Storage) -> None:
    RecordStore.open(storage, identity={"batch_size": 4}, rows=SampleRows(3))
    store = RecordStore.open(storage, identity={"batch_size": 2}, rows=SampleRows(5))
    assert read_identity(storage) == ({"batch_size": 2}, {"num_logits": 5})
    store.append([a_sample(0, num_logits=5)])
    with pytest.raises(RecordConflictError):
        RecordStore.open(storage, identity={"batch_size": 4}, rows=SampleRows(3))


@pytest.mark.parametrize(
    ("rows", "record"),
    [(SampleRows(84), a_sample(0, num_logits=84)), (ScoreRows("naswot"), a_score(0))],
)
def test_records_without_it_are_answered_by_their_own_settings_alone(
    storage: Storage, rows: Any, record: Any
) -> None:
    RecordStore.open(storage, identity=IDENTITY, rows=rows).append([record])
    written = storage.read("identity.json")
    storage.delete("identity.json")
    other = {**IDENTITY, "seed": 1}
    for asked in (rows, SampleRows(60), ScoreRows("snip"), MeasurementRows(84, "path")):
        with pytest.raises(RecordConflictError, match=r"its identity\.json, .* is gone; restore"):
            RecordStore.open(storage, identity=other, rows=asked)
        assert read_identity(storage) is None
    assert RecordStore.open(storage, identity=IDENTITY, rows=rows).missing([0, 1]) == [1]
    assert storage.read("identity.json") == written


def test_checkpoints_without_it_are_refused(storage: Storage) -> None:
    class Checkpoints:
        parameters: ClassVar = {"rows": "checkpoints"}

    storage.write("checkpoints/notes.txt", b"mine")
    establish(storage, IDENTITY, Checkpoints())
    storage.write("checkpoints/step-000000008.pt", b"weights")
    establish(storage, IDENTITY, Checkpoints())
    storage.delete("identity.json")
    with pytest.raises(RecordConflictError, match="is gone; restore it, or use another --out"):
        establish(storage, IDENTITY, Checkpoints())
    assert read_identity(storage) is None


def test_a_lost_race_to_write_it_is_compared(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_create = type(storage).create

    def create(self: Storage, name: str, data: bytes) -> bool:
        other = data.replace(b'"seed": 0', b'"seed": 1')
        assert whole_create(self, name, other)
        return whole_create(self, name, data)

    monkeypatch.setattr(type(storage), "create", create)
    with pytest.raises(RecordConflictError, match="made with seed=1; asked for seed=0"):
        RecordStore.open(storage, identity=IDENTITY, rows=SampleRows(84))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"{}", b"null", b"\xff\xfe", b'{"version": 1, "identity": {}}',
        b'{"version": 1, "identity": [], "num_logits": 84}',
        b'{"version": 1, "identity": {}, "num_logits": true}',
        b'{"version": 1, "identity": {}, "rows": "../scores"}',
        b'{"version": 1, "identity": {}, "rows": 3}',
        b'[["version", 1], ["identity", {}]]',
    ],
)  # fmt: skip
def test_an_unreadable_identity_is_corrupt(local: LocalStorage, content: bytes) -> None:
    local.write("identity.json", content)
    with pytest.raises(RecordCorruptError, match=r"identity\.json .*use another run directory"):
        RecordStore.open(local, identity=IDENTITY, rows=SampleRows(84))


def test_records_of_a_kind_from_elsewhere_are_left_alone(local: LocalStorage) -> None:
    content = b'{"version": 1, "identity": {}, "rows": "songs"}'
    local.write("identity.json", content)
    local.write("songs/part-1", b"la")
    with pytest.raises(RecordConflictError, match="holds songs, not samples; use another --out"):
        RecordStore.open(local, identity=IDENTITY, rows=SampleRows(84))
    assert local.read("identity.json") == content


def test_the_identity_of_a_ranking_says_so(local: LocalStorage) -> None:
    store = RecordStore.open(local, identity=IDENTITY, rows=ScoreRows("naswot"))
    RecordStore.open(local, identity=IDENTITY, rows=ScoreRows("snip"))
    assert read_identity(local) == ({**IDENTITY, "shape": [3, 32]}, {"rows": "scores"})
    store.append([a_score(0)])
    with pytest.raises(RecordConflictError, match="holds scores made with seed=0; asked for seed"):
        RecordStore.open(local, identity={**IDENTITY, "seed": 1}, rows=ScoreRows("snip"))


def test_the_identity_of_another_version_is_named(local: LocalStorage) -> None:
    content = {"version": 2, "identity": {}, "num_logits": 84}
    local.write("identity.json", json.dumps(content).encode())
    with pytest.raises(RecordCorruptError, match="has version 2, this program reads 1"):
        RecordStore.open(local, identity=IDENTITY, rows=SampleRows(84))


def test_the_fingerprint_is_of_the_values_alone() -> None:
    assert fingerprint({"a": 1, "b": (2, 3)}) == fingerprint({"b": [2, 3], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint({"a": 1}) != fingerprint({"a": "1"})
    # Stored in every part: a change would make all records unreadable.
    assert fingerprint({"a": 1, "b": "é"}) == (
        "09ad9fd2fb648cb2f62141215828ea00a62c299db05d20aa9ade2f527a301cc6"
    )


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"x"])
def test_what_json_cannot_hold_is_refused_before_anything_is_written(
    local: LocalStorage, value: Any
) -> None:
    with pytest.raises((TypeError, ValueError)):
        RecordStore.open(local, identity={"a": value}, rows=SampleRows(84))
    assert local.list("") == []
