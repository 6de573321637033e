"""Damaged files of our own formats: each is read as it was or named in one line.

The mutations follow from a seed; a part carries the checksum of its damaged content, so that what
lies behind the checksum is reached.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nasi_ray.ranking.scores import read_scores
from nasi_ray.records import IdentityValue, RecordStore, parts, read_run
from nasi_ray.records.identity import read_identity
from nasi_ray.storage import LocalStorage
from nasi_ray.storage.local import _locked_message
from nasi_ray.storage.s3_lease import _content_of, _duration_of
from tests.contracts.records import Kind
from tests.fuzzing import is_read, mutants

NUM_MUTANTS = 400


def test_a_damaged_part_is_named(local: LocalStorage, kind: Kind) -> None:
    store = RecordStore.open(local, identity={"seed": 0}, rows=kind.rows)
    store.append([kind.make(i, failed=i % 3 == 0) for i in range(5)])
    (name,) = local.list(kind.folder)
    good = local.read(name)
    local.delete(name)
    num_read = 0
    for damaged in mutants(good, NUM_MUTANTS, seed=1):
        name = parts.part_name(kind.folder, 1, damaged)
        path = Path(local.uri) / name
        path.write_bytes(damaged)
        num_read += is_read(store.read)
        path.unlink()
    assert num_read < NUM_MUTANTS / 2


def test_a_damaged_identity_is_named(local: LocalStorage, kind: Kind) -> None:
    identity: dict[str, IdentityValue] = {
        "space": "s1",
        "seed": 0,
        "sizes": [1, 2.5, None, True],
        "note": "\u00fc",
    }
    RecordStore.open(local, identity=identity, rows=kind.rows)
    path = Path(local.uri) / "identity.json"

    def use() -> None:
        read_identity(local)
        (read_run if kind.rows.kind == "samples" else read_scores)(local.uri)
        store = RecordStore.open(local, identity=identity, rows=kind.rows)
        store.append([kind.make(0)])

    good = path.read_bytes()
    num_read = 0
    others = [good.replace(b'"space"', b'"place"'), good.replace(b'"s1"', b"1")]
    for damaged in (*others, *mutants(good, NUM_MUTANTS, seed=2)):
        path.write_bytes(damaged)
        num_read += is_read(use)
    assert num_read < NUM_MUTANTS


@pytest.mark.parametrize("seed", [3, 4])
def test_a_damaged_lock_is_text_of_nobody(tmp_path: Path, seed: int) -> None:
    content: dict[str, Any] = {
        "owner": "a" * 32, "host": "h", "pid": 7, "since": "2026-01-01T00:00:00+00:00",
        "expires": "2026-01-01T00:01:00+00:00", "duration_s": 60.0,
    }  # fmt: skip
    path = tmp_path / "run.lock"
    for damaged in mutants(json.dumps(content).encode(), NUM_MUTANTS, seed=seed):
        taken_s, note = _duration_of(_content_of(damaged), 60.0)
        assert 5.0 <= taken_s <= 600.0
        assert len(note) < 100
        path.write_bytes(damaged)
        with path.open("rb") as file:
            assert "is being written by" in _locked_message("run", file.fileno())
