from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest

from nasi_ray.config import EstimateConfig
from nasi_ray.errors import ConfigError
from nasi_ray.records.rows import SampleTable
from nasi_ray.spaces.nb1shot1 import S1
from nasi_ray.study.ablation import vary
from nasi_ray.study.accuracies import SpaceReference, sampled_cells
from nasi_ray.study.agnosticism import compare_modes
from nasi_ray.study.effectiveness import budgets, search_curve
from nasi_ray.study.grid import constraint_grid
from nasi_ray.study.published import paper_error
from nasi_ray.study.selection import replay
from nasi_ray.study.table2 import search_all
from nasi_ray.study.tradeoff import groups_by_trace_norm, relations
from tests.study.cases import a_sample, records, s1_accuracies, toward

ADA = EstimateConfig(num_samples=30, method="ada", nu=2.0, mu=1.0)


def scaled(table: SampleTable, factor: float) -> SampleTable:
    return replace(table, trace_norm=table.trace_norm * factor)


def by_error(table: SampleTable, sign: float = 1.0) -> SampleTable:
    """The same architectures, with e growing (or falling) with the table's error."""
    errors = sampled_cells(table, len(table), s1_accuracies()).error_percent
    return replace(table, trace_norm=np.exp(sign * errors))


def test_e_that_only_scales_is_agnostic() -> None:
    first = [records(40, seed=s) for s in range(2)]
    found = compare_modes(first, [scaled(t, 3.0) for t in first], 40)
    for correlation in (found.pearson, found.pearson_log, found.spearman):
        assert correlation.value == pytest.approx(1)
    assert found.median_ratio == pytest.approx(3)
    assert found.num_pairs == 80


def test_unrelated_e_is_told_from_it() -> None:
    first = records(300)
    rng = np.random.default_rng(5)
    found = compare_modes([first], [replace(first, trace_norm=rng.lognormal(size=300))], 300)
    assert found.spearman.low < 0 < found.spearman.high


def test_records_pair_up_by_index_and_bad_ones_are_left_out() -> None:
    whole = records(20)
    fewer = SampleTable.from_samples(
        [
            a_sample(i, e=float(i), grad=whole.grad[i], choices=whole.choices[i].astype(np.int64))
            for i in (3, 7, 19, 12)
        ],
        S1.num_logits,
    )
    fewer.ok[0] = False
    found = compare_modes([whole], [fewer], 19)
    ((x, y),) = found.pairs
    assert y.tolist() == [7.0, 12.0]
    assert x.tolist() == whole.trace_norm[[7, 12]].tolist()


def test_records_of_other_architectures_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="different architectures"):
        compare_modes([records(5, seed=0)], [records(5, seed=1)], 5)


def test_budgets_end_with_t() -> None:
    assert budgets(30, 10) == [10, 20, 30]
    assert budgets(25, 10) == [10, 20, 25]
    assert budgets(5, 10) == [5]
    with pytest.raises(ConfigError, match="step is 0"):
        budgets(30, 0)


def test_every_point_of_the_curve_is_the_search_ended_there() -> None:
    accuracies = s1_accuracies()
    tables = [records(30, seed=s) for s in range(3)]
    curve = search_curve(tables, ADA, accuracies, SpaceReference(accuracies), step=10)
    assert [b.num_samples for b in curve] == [10, 20, 30]
    for budget in curve:
        shorter = replace(ADA, num_samples=budget.num_samples)
        assert list(budget.selections) == [replay(t, shorter, accuracies) for t in tables]
    assert curve[0].oracle_error > curve[-1].oracle_error


def test_relations_are_signed_and_positive_when_both_grow() -> None:
    tables = [records(60, seed=s) for s in range(2)]
    for sign in (1.0, -1.0):
        cells = [sampled_cells(by_error(t, sign), 60, s1_accuracies()) for t in tables]
        found = {(r.x, r.y): r for r in relations(cells)}
        assert found["e", "error"].spearman.value == pytest.approx(sign)
        assert found["e", "error"].kendall.value == pytest.approx(sign)
    assert set(found) == {("e", "error"), ("parameters", "error"), ("e", "parameters")}


def test_groups_are_tenths_of_every_seed() -> None:
    """The second seed's e are a thousand times as large, and still half of every group."""
    cells = [
        sampled_cells(scaled(by_error(records(50, seed=s)), 1000.0**s), 50, s1_accuracies())
        for s in range(2)
    ]
    groups = groups_by_trace_norm(cells)
    assert [g.num for g in groups] == [10] * 10
    means = [g.mean_error for g in groups]
    assert means == sorted(means)
    assert np.mean(means) == pytest.approx(np.mean([c.error_percent.mean() for c in cells]))


def test_fewer_samples_make_fewer_groups() -> None:
    cells = [sampled_cells(records(4), 4, s1_accuracies())]
    assert [g.num for g in groups_by_trace_norm(cells)] == [1] * 4


def test_a_grid_has_every_combination_and_marks_what_is_tied() -> None:
    tables = [records(30, seed=s, grad=toward(S1.architecture(9_000))) for s in range(2)]
    points = constraint_grid(tables, ADA, s1_accuracies(), nus=[0.0, "q50", 1e6], mus=[1.0, 2.0])
    found = {(p.method, p.nu, p.mu): p for p in points}
    assert len(found) == len(points) == 12
    # ν = 0 and μ = 1 make every G zero.
    assert found["fix", 0.0, 1.0].statistics.num == 0
    assert found["fix", 0.0, 1.0].statistics.num_tied == 2
    assert found["fix", 1e6, 1.0].selections[0].architecture == S1.architecture(9_000).to_string()
    assert found["fix", "q50", 2.0].selections[0].share_penalised == pytest.approx(0.5, abs=0.05)


def test_modes_are_searched_seed_by_seed_and_together() -> None:
    tables = [records(30, seed=s) for s in range(3)]
    found = search_all(tables, ADA, s1_accuracies())
    assert list(found.selections) == [replay(t, ADA, s1_accuracies()) for t in tables]
    errors = [s.error_percent for s in found.selections]
    assert found.statistics.mean == pytest.approx(np.mean(errors))
    assert found.statistics.std == pytest.approx(np.std(errors, ddof=1))


def test_no_figure_is_made_up() -> None:
    assert paper_error("true", "s1") == "7.3 ± 1.1"
    assert paper_error("true", "nb201") == "not published"
    assert paper_error("consensus", "s1") == "not published"


def test_a_variation_is_the_replay_of_its_own_settings() -> None:
    tables = [by_error(records(30, seed=s)) for s in range(2)]
    config = replace(ADA, nu="q50")
    found = vary("nu", "q50", tables, config, s1_accuracies(), is_base=False, is_one_cell=True)
    assert found.spearman is not None
    assert found.spearman.value == pytest.approx(1)
    assert found.selections[1] == replay(tables[1], config, s1_accuracies())
    assert found.median_trace_norm == pytest.approx(
        np.mean([np.median(t.trace_norm) for t in tables])
    )
    per_cell = vary("x", "y", tables, config, s1_accuracies(), is_base=False, is_one_cell=False)
    assert per_cell.spearman is None
    assert dataclasses.replace(per_cell, spearman=found.spearman, factor="nu", value="q50") == found
