from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nasi_ray.records.rows import Sample, SampleTable
from tests.contracts.samples import NUM_LOGITS, a_sample, assert_same_table
from tests.strategies import samples


@given(rows=samples(), data=st.data())
def test_rows_are_sorted_by_index_whatever_the_order(
    rows: list[Sample], data: st.DataObject
) -> None:
    arrived = data.draw(st.permutations(rows))
    table = SampleTable.from_samples(arrived, NUM_LOGITS)
    assert len(table) == len(rows)
    assert table.index.tolist() == [s.index for s in rows]
    assert table.ok.tolist() == [s.status == "ok" for s in rows]
    assert table.seconds.tolist() == [s.seconds for s in rows]
    np.testing.assert_array_equal(table.trace_norm, [s.trace_norm for s in rows])
    np.testing.assert_array_equal(table.grad, np.stack([s.grad for s in rows]))
    assert table.errors == {s.index: s.error for s in rows if s.status == "failed"}
    assert table.choices.tolist() == [s.choices.tolist() for s in rows]


def test_of_an_index_given_twice_the_first_is_kept() -> None:
    first, second = a_sample(3), a_sample(3, failed=True)
    table = SampleTable.from_samples([first, second, a_sample(1)], NUM_LOGITS)
    assert table.index.tolist() == [1, 3]
    assert table.ok.tolist() == [True, True]
    assert table.errors == {}


@given(rows=samples(), end=st.integers(0, 70))
def test_below_keeps_the_smaller_indices(rows: list[Sample], end: int) -> None:
    table = SampleTable.from_samples(rows, NUM_LOGITS).below(end)
    fewer = [s for s in rows if s.index < end]
    assert_same_table(table, SampleTable.from_samples(fewer, NUM_LOGITS))


def test_a_sample_with_fewer_choices_is_padded() -> None:
    lost = replace(a_sample(1, failed=True), status="lost", choices=np.array([], dtype=np.int64))
    table = SampleTable.from_samples([a_sample(0), lost], NUM_LOGITS)
    assert table.choices.tolist() == [a_sample(0).choices.tolist(), [-1, -1, -1, -1]]


def test_a_table_without_rows_has_its_shapes() -> None:
    table = SampleTable.from_samples([], 84)
    assert len(table) == 0
    assert table.grad.shape == (0, 84)
    assert table.ok.dtype == np.bool_
    assert table.index.dtype == np.int64
    assert len(table.below(10)) == 0
