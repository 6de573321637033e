from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nasi_ray.errors import ConfigError
from nasi_ray.records.rows import SampleTable
from nasi_ray.spaces.nb1shot1 import S1
from nasi_ray.spaces.options import chosen_candidates
from nasi_ray.study.accuracies import sampled_cells
from nasi_ray.study.effects import ChoiceEffect, choice_effects
from tests.study.cases import records, s1_accuracies


def effects(tables: list[SampleTable]) -> dict[tuple[str, str], ChoiceEffect]:
    cells = [sampled_cells(table, len(table), s1_accuracies()) for table in tables]
    found = choice_effects(tables, cells, len(tables[0]), S1)
    return {(effect.decision, effect.candidate): effect for effect in found}


def with_effect(table: SampleTable, column: int, size: float) -> SampleTable:
    """e is exp(size) where a candidate was chosen, else 1."""
    chosen = chosen_candidates(table.choices, S1)[:, column]
    return replace(table, trace_norm=np.exp(size * chosen))


def test_the_effect_that_was_put_in_is_found() -> None:
    decision, where = S1.decisions[0], S1.slices[0]
    tables = [with_effect(records(300, seed=s), where.start, 0.6) for s in range(2)]
    found = effects(tables)
    share = np.mean([chosen_candidates(t.choices, S1)[:, where.start].mean() for t in tables])
    chosen = found[decision.name, decision.candidates[0]]
    assert chosen.log_trace_norm == pytest.approx(0.6 * (1 - share))
    for other in decision.candidates[1:]:
        assert found[decision.name, other].log_trace_norm == pytest.approx(-0.6 * share)
    assert sum(found[decision.name, c].num for c in decision.candidates) == 600
    assert abs(found["block4/op", S1.decisions[-3].candidates[0]].log_trace_norm) < 0.1


def test_the_error_is_that_of_the_table() -> None:
    (table,) = tables = [records(100)]
    errors = sampled_cells(table, 100, s1_accuracies()).error_percent
    column = S1.slices[0].start + 1
    is_chosen = chosen_candidates(table.choices, S1)[:, column] > 0
    found = effects(tables)[S1.decisions[0].name, S1.decisions[0].candidates[1]]
    assert found.error == pytest.approx(errors[is_chosen].mean() - errors.mean())
    assert np.isnan(found.log_trace_norm_std)


def test_decisions_without_alternatives_and_candidates_never_chosen_are_left_out() -> None:
    table = records(1)
    names = {decision for decision, _ in effects([table])}
    assert names == {d.name for d in S1.decisions if d.size > d.num_chosen}
    assert len(effects([table])) == sum(d.num_chosen for d in S1.decisions if d.name in names)


def test_samples_without_a_logarithm_do_not_count() -> None:
    table = records(50, e=lambda i: 0.0 if i < 10 else 2.0)
    found = effects([table])
    assert all(abs(effect.log_trace_norm) < 1e-12 for effect in found.values())
    first = [found[S1.decisions[0].name, c].num for c in S1.decisions[0].candidates]
    assert sum(first) == 40


def test_a_draw_per_cell_has_no_such_effects() -> None:
    with pytest.raises(ConfigError, match="each cell had its own draw"):
        chosen_candidates(np.zeros((3, 36), dtype=np.int16), S1)
