"""What a part of measurements may hold beside what every part may; see also ``test_values.py``."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nasi_ray.config import PATH, PATH_MEASUREMENTS
from nasi_ray.errors import RecordConflictError
from nasi_ray.records import MeasurementRows, RecordStore, SampleRows
from nasi_ray.records.reader import read_records
from nasi_ray.storage import LocalStorage
from tests.contracts.records import (
    MEASUREMENT_ROWS,
    a_measurement,
    assert_same_measurements,
    measurement_table,
)
from tests.contracts.samples import NUM_LOGITS, a_sample, assert_same_table

IDENTITY: dict[str, Any] = {"seed": 0, "space": "s1"}
SNIP = MeasurementRows(NUM_LOGITS, "snip")


@pytest.mark.parametrize("name", PATH_MEASUREMENTS)
def test_a_value_that_is_not_defined_comes_back_as_nan(local: LocalStorage, name: str) -> None:
    store = RecordStore.open(local, identity=IDENTITY, rows=MEASUREMENT_ROWS)
    row = a_measurement(0)
    store.append([replace(row, values={**row.values, name: None})])
    found = store.read()
    assert found.ok.tolist() == [True]
    assert [k for k, column in found.values.items() if np.isnan(column[0])] == [name]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", PATH_MEASUREMENTS)
def test_a_value_that_is_not_finite_is_not_stored(
    local: LocalStorage, name: str, value: float
) -> None:
    store = RecordStore.open(local, identity=IDENTITY, rows=MEASUREMENT_ROWS)
    row = a_measurement(4)
    with pytest.raises(ValueError, match=f"measurement 4 holds impossible {name}"):
        store.append([a_measurement(2), replace(row, values={**row.values, name: value})])
    assert store.num_parts == 0


def test_only_the_series_own_values_are_stored(local: LocalStorage) -> None:
    store = RecordStore.open(local, identity=IDENTITY, rows=MEASUREMENT_ROWS)
    good, failed = a_measurement(2), a_measurement(3, failed=True)
    fewer = dict(list(good.values.items())[1:])
    reordered = dict(reversed(list(good.values.items())))
    for row in (
        replace(good, values={}),
        replace(good, values=fewer),
        replace(good, values=reordered),
        replace(good, values={**good.values, "snip": 1.0}),
        replace(failed, values=good.values),
        replace(failed, status="lost", values=dict.fromkeys(good.values)),
    ):
        with pytest.raises(ValueError, match=rf"measurement [23] \({row.status}\) has "):
            store.append([row])
    assert store.num_parts == 0


def test_the_parts_of_one_series_are_not_read_as_those_of_another(local: LocalStorage) -> None:
    naswot = MeasurementRows(NUM_LOGITS, "naswot")
    store = RecordStore.open(local, identity=IDENTITY, rows=SNIP)
    store.append([replace(a_measurement(0), values={"snip": 1.0})])
    (part,) = local.list("measurements/snip/")
    local.write(part.replace("snip", "naswot"), local.read(part))
    with pytest.raises(RecordConflictError, match="holds measurements of other"):
        RecordStore.open(local, identity=IDENTITY, rows=naswot).read()


def test_a_run_is_read_with_all_that_it_has(local: LocalStorage) -> None:
    samples = SampleRows(NUM_LOGITS)
    rows = [a_measurement(i) for i in range(3)]
    RecordStore.open(local, identity=IDENTITY, rows=MEASUREMENT_ROWS).append(rows)
    alone = read_records(local.uri)
    assert alone.samples is None
    assert list(alone.measurements) == [PATH]
    assert_same_measurements(alone.measurements[PATH], measurement_table(rows))
    store = RecordStore.open(local, identity=IDENTITY, rows=samples)
    store.append([a_sample(i) for i in range(2)])
    RecordStore.open(local, identity=IDENTITY, rows=SNIP).append(
        [replace(a_measurement(0), values={"snip": 0.5})]
    )
    found = read_records(local.uri)
    assert found.samples is not None
    assert_same_table(found.samples, store.read())
    assert sorted(found.measurements) == [PATH, "snip"]
    assert found.measurements["snip"].values["snip"].tolist() == [0.5]
    below = found.below(1)
    assert below.samples is not None
    assert (len(below.samples), len(below.measurements[PATH])) == (1, 1)


def test_measurements_alone_hold_the_run_to_its_settings(local: LocalStorage) -> None:
    RecordStore.open(local, identity=IDENTITY, rows=MEASUREMENT_ROWS).append([a_measurement(0)])
    for rows in (MEASUREMENT_ROWS, SampleRows(NUM_LOGITS)):
        with pytest.raises(RecordConflictError, match="made with seed=0; asked for seed=1"):
            RecordStore.open(local, identity={**IDENTITY, "seed": 1}, rows=rows)
