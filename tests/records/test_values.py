"""No column of a part holds what its records may not: refused at writing, and again at reading."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nasi_ray.config import PATH_MEASUREMENTS
from nasi_ray.errors import RecordCorruptError
from nasi_ray.records import RecordStore, parts
from nasi_ray.records.rows import MAX_MAGNITUDE
from nasi_ray.records.sample_rows import SampleRows
from nasi_ray.records.score_rows import ScoreRows
from nasi_ray.storage import LocalStorage
from tests.contracts.records import KINDS, Kind
from tests.contracts.samples import NUM_LOGITS

NAN, INF = math.nan, math.inf
BEYOND = math.nextafter(MAX_MAGNITUDE, INF)
NEGATIVE_SECONDS = -5e-324


def grad(value: float | None) -> list[float | None]:
    return [value, *[0.5] * (NUM_LOGITS - 1)]


COMMON: dict[str, list[Any]] = {
    "index": [-1, -(2**63), None],
    "status": ["done", "", "OK", None],
    "error": ["no reason to be ok", None],
    "seconds": [NAN, INF, -INF, NEGATIVE_SECONDS, 1e10, None],
    "worker": [None],
    "ended": [NAN, INF, -1.0, 1e12],
}
"""Column -> values that an ok record may not have there."""
OWN: dict[str, dict[str, list[Any]]] = {
    "samples": {
        "trace_norm": [NAN, INF, -5e-324, -5.0, BEYOND, 1e200, None],
        "grad": [*map(grad, (NAN, INF, -INF, BEYOND, -1e200, None)), None],
        "choices": [[-1], [3, -(2**15)], [None], None],
    },
    "scores": {"score": [NAN, INF, -INF, None]},
    "measurements": {
        **{name: [NAN, INF, -INF] for name in PATH_MEASUREMENTS},
        "choices": [[-1], [None], None],
    },
}
NOT_OK: dict[str, dict[str, list[Any]]] = {
    "samples": {"trace_norm": [1.0], "grad": [grad(0.5)], "choices": [[-1], None]},
    "scores": {"score": [0.0, NAN]},
    "measurements": {
        **{name: [0.0, NAN] for name in PATH_MEASUREMENTS},
        "choices": [[-1], None],
    },
}
"""The same of a failed or lost record; what does not depend on the status is left out."""
BAD = [
    pytest.param(name, column, value, position, id=f"{name}-{column}-{value}-{position}")
    for name in KINDS
    for columns, positions in ((COMMON | OWN[name], [1]), (NOT_OK[name] | {"error": [""]}, [2, 3]))
    for column, values in columns.items()
    for value in values
    for position in positions
]


def records(kind: Kind) -> list[Any]:
    """Two that are ok, a failed and a lost one."""
    lost = replace(kind.make(3, failed=True), status="lost")
    return [kind.make(0), kind.make(1), kind.make(2, failed=True), lost]


def store_of(storage: LocalStorage, kind: Kind) -> RecordStore[Any, Any]:
    return RecordStore.open(storage, identity={"seed": 0}, rows=kind.rows)


def put(storage: LocalStorage, kind: Kind, table: pa.Table) -> str:
    """Store a part that this program would not write; its checksum is right."""
    data = parts.to_bytes(table, kind.rows)
    name = parts.part_name(kind.folder, 1, data)
    storage.write(name, data)
    return name


def test_every_column_of_every_kind_is_tried() -> None:
    for name, kind in KINDS.items():
        assert {*COMMON, *OWN[name]} == set(kind.rows.schema.names)
        assert set(NOT_OK[name]) == set(OWN[name])


@pytest.mark.parametrize(("name", "column", "value", "position"), BAD)
def test_an_impossible_value_is_found_at_every_reading(
    local: LocalStorage, name: str, column: str, value: Any, position: int
) -> None:
    kind = KINDS[name]
    store = store_of(local, kind)
    table = parts.table_of(records(kind), kind.rows, fingerprint=store._fingerprint)
    values = table[column].to_pylist()
    values[position] = value
    field = table.schema.field(column)
    changed = table.set_column(
        table.schema.get_field_index(column), field, pa.array(values, field.type)
    )
    part = put(local, kind, changed)
    for call in (store.read, store.compact, lambda: store.missing([0])):
        with pytest.raises(RecordCorruptError) as caught:
            call()
        line = str(caught.value)
        assert line.startswith(f"{local.uri}/{part} holds impossible values of ")
        assert f" {column} (" in line
        assert line.endswith(f"; delete it to have its {kind.label}s evaluated again")


WRITTEN: dict[str, list[Any]] = {
    **COMMON,
    "index": [-1],
    "status": ["done", ""],
    "error": ["no reason to be ok"],
    "seconds": [NAN, INF, -INF, NEGATIVE_SECONDS, 1e10],
    "trace_norm": [NAN, INF, -5e-324, -5.0, BEYOND, 1e200],
    "grad": [np.array(grad(value)) for value in (NAN, INF, -INF, BEYOND, -1e200)],
    "choices": [np.array([-1]), np.array([3, 2**15])],
    "score": [NAN, INF, -INF],
}


@pytest.mark.parametrize("column", [column for column in WRITTEN if column != "worker"])
def test_an_impossible_value_is_not_stored(local: LocalStorage, column: str) -> None:
    for kind in KINDS.values():
        store = store_of(LocalStorage(f"{local.uri}/{kind.label}"), kind)
        good, other, failed, _ = records(kind)
        if column not in kind.rows.schema.names:
            continue
        for value in WRITTEN[column]:
            with pytest.raises(ValueError, match=rf"{kind.label} -?\d+ holds .*{column}|32768"):
                store.append([good, replace(other, **{column: value})])
        if column == "error":
            with pytest.raises(ValueError, match=f"{kind.label} 2 holds impossible error"):
                store.append([good, replace(failed, error="")])
        assert store.num_parts == 0


def test_the_largest_and_smallest_values_are_stored(local: LocalStorage) -> None:
    kind = KINDS["samples"]
    store = store_of(local, kind)
    largest = replace(
        kind.make(2**63 - 1),
        trace_norm=MAX_MAGNITUDE,
        grad=np.array([MAX_MAGNITUDE, -MAX_MAGNITUDE, 0.0, -0.0, 5e-324]),
        choices=np.array([0, 2**15 - 1]),
        seconds=1e9,
    )
    smallest = replace(kind.make(0), trace_norm=0.0, seconds=0.0, choices=np.array([], dtype=int))
    store.append([largest, smallest])
    kind.assert_same(store.read(), kind.table_of([largest, smallest]))


def test_texts_that_no_encoding_has_are_stored_as_escapes(local: LocalStorage, kind: Kind) -> None:
    store = store_of(local, kind)
    store.append([replace(kind.make(1, failed=True), error="\udcff\n", worker="\ud800")])
    assert store.read().errors == {1: "\\udcff\n"}


def test_a_text_that_is_no_utf8_is_found(local: LocalStorage, kind: Kind) -> None:
    store = store_of(local, kind)
    table = parts.table_of(records(kind), kind.rows, fingerprint=store._fingerprint)
    raw = pa.array([b"", b"", b"\xff\xfe", b"gone"], pa.binary()).view(pa.string())
    part = put(local, kind, table.set_column(
        table.schema.get_field_index("error"), table.schema.field("error"), raw
    ))  # fmt: skip
    with pytest.raises(RecordCorruptError, match=f"{part} is not a record file .*UTF8"):
        store.read()


def test_all_that_earlier_programs_stored_is_within_the_ranges() -> None:
    tests = Path(__file__).parents[1]
    found = [*tests.glob("records/run_v1/**/*.parquet"), *tests.glob("runs_*/**/*.parquet")]
    assert len(found) >= 9
    for path in found:
        schema = pq.read_schema(path)
        is_search = "grad" in schema.names
        rows_of: SampleRows | ScoreRows = (
            SampleRows(schema.field("grad").type.list_size)
            if is_search
            else ScoreRows(path.parent.name)
        )
        table = parts.from_bytes(
            path.read_bytes(),
            rows_of,
            name=f"{rows_of.folder}{path.name}",
            uri="",
            fingerprint=schema.metadata[b"nasi_ray.fingerprint"].decode(),
        )
        assert table.schema.equals(rows_of.schema), path
        assert table["ended"].null_count == len(table), path


def test_old_and_new_parts_become_one(local: LocalStorage) -> None:
    for kind in KINDS.values():
        storage = LocalStorage(f"{local.uri}/{kind.label}")
        store = store_of(storage, kind)
        old = parts.table_of([kind.make(0)], kind.rows, fingerprint=store._fingerprint)
        put(storage, kind, old.drop_columns("ended"))
        store = store_of(storage, kind)
        store.append([replace(kind.make(1), ended=1.5)])
        store.compact()
        (name,) = storage.list(kind.folder)
        table = pq.read_table(f"{storage.uri}/{name}")
        assert table["ended"].to_pylist() == [None, 1.5]
        assert len(store_of(storage, kind).read()) == 2
