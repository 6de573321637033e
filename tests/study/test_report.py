from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nasi_ray.display.figures import render
from nasi_ray.statistics import Correlation
from nasi_ray.study.ablation import Variation, ablation_figure, ablation_lines
from nasi_ray.study.accuracies import SpaceReference, sampled_cells
from nasi_ray.study.agnosticism import agnostic_figure, compare_modes
from nasi_ray.study.effectiveness import Budget, effectiveness_figure, effectiveness_lines
from nasi_ray.study.grid import GridPoint, grid_figure
from nasi_ray.study.selection import Selection, over_seeds
from nasi_ray.study.table2 import ModeResult, table2_lines
from nasi_ray.study.text import (
    interval,
    jsonable,
    number,
    over_seeds_text,
    reference_rows,
    selection_text,
)
from nasi_ray.study.tradeoff import groups_by_trace_norm, relation_figure, relations
from tests.study.cases import records, s1_accuracies

NAN = float("nan")
SURE = Selection(
    architecture="0;0,1|3,1",
    error_percent=6.5,
    num_params=1_000_000,
    tied=(),
    share_penalised=0.25,
)
TIE = replace(SURE, tied=("block1/op", "block2/op"), error_percent=1.25)
PNG, SVG = b"\x89PNG", b"<?xml"


@pytest.fixture(scope="module")
def reference() -> SpaceReference:
    return SpaceReference(s1_accuracies())


def budget(num_samples: int, *selections: Selection) -> Budget:
    return Budget(
        num_samples=num_samples,
        selections=selections,
        statistics=over_seeds(selections),
        oracle_error=3.0,
    )


def test_numbers_say_their_count_and_spread() -> None:
    other = replace(SURE, error_percent=7.5)
    assert over_seeds_text(over_seeds([SURE, other])) == "7.00 ± 0.71 (n = 2)"
    assert over_seeds_text(over_seeds([SURE])) == "6.50 (n = 1)"
    with_tie = over_seeds_text(over_seeds([SURE, other, TIE]))
    assert with_tie == "7.00 ± 0.71 (n = 2; 1 tied left out)"
    assert over_seeds_text(over_seeds([TIE])) == "tied (all 1)"
    assert selection_text(TIE) == "tied (2 decisions)"


def test_what_is_not_known_is_a_dash_in_text_and_null_in_json() -> None:
    unknown = Correlation(value=NAN, low=NAN, high=NAN, per_seed=(NAN,), num_pairs=1)
    assert interval(unknown) == interval(None) == number(NAN) == "–"
    known = replace(unknown, value=-0.5, low=-0.61, high=-0.4)
    assert interval(known) == "-0.50 [-0.61, -0.40]"
    content = jsonable({"a": NAN, "b": (np.array([1.0, math.inf]), 2), 3: [np.float64("nan")]})
    assert json.dumps(content, allow_nan=False) == '{"a": null, "b": [[1.0, null], 2], "3": [null]}'


def test_an_oracle_is_called_one(reference: SpaceReference) -> None:
    rows = dict(reference_rows(reference, 20))
    (oracle,) = (name for name in rows if "oracle" in name)
    assert "best of 20" in oracle
    assert rows[oracle] == f"{reference.best_of(20):.2f}"
    lines = "\n".join(effectiveness_lines([budget(20, SURE)], reference, seeds=[0]))
    assert "*oracle*" in lines
    assert "Test error of the selected cell" in lines


def test_tied_cells_are_marked_in_tables(reference: SpaceReference) -> None:
    result = ModeResult(selections=(SURE, TIE), statistics=over_seeds([SURE, TIE]), consensus=TIE)
    text = "\n".join(
        table2_lines(
            "s1",
            {"true": result},
            reference,
            num_samples=5,
            seeds=[0, 1],
        )
    )
    assert "6.50 (n = 1; 1 tied left out) | tied (2 decisions) | 7.3 ± 1.1" in (text)
    assert "1.25" not in text


def test_a_failed_variation_says_why(reference: SpaceReference) -> None:
    failed = Variation(factor="loss", value="mse", is_base=False, failure="overflow")
    text = "\n".join(ablation_lines([failed], reference))
    assert "| loss | mse | failed: overflow | – | – | – |" in text


def test_figures_are_drawn_when_everything_is_tied(reference: SpaceReference) -> None:
    curve = [budget(10, TIE, TIE), budget(20, TIE, TIE)]
    point = GridPoint(
        method="fix", nu="q25", mu=1.0, selections=(TIE,), statistics=over_seeds([TIE])
    )
    failed = Variation(factor="loss", value="mse", is_base=False, failure="overflow")
    grid = grid_figure([point], title="t", error_name="test error")
    assert max(len(panel.get_xlabel()) for panel in grid.axes) < 3  # narrow, what ν is below all
    figures = (
        effectiveness_figure(curve, reference, title="t", seeds=[0, 1]),
        grid,
        ablation_figure([failed], reference, title="t"),
    )
    for figure in figures:
        drawn = render(figure)
        assert drawn["png"].startswith(PNG)
        assert drawn["svg"].startswith(SVG)


@pytest.mark.parametrize("num_samples", [0, 1, 25])
def test_few_pairs_make_a_figure_too(num_samples: int) -> None:
    tables = [records(25), records(25, seed=1)]
    agreements = {"random-labels": compare_modes(tables, tables, num_samples)}
    figure = agnostic_figure(agreements, title="t")
    assert render(figure)["png"].startswith(PNG)


def test_the_relation_names_both_axes_and_its_counts(reference: SpaceReference) -> None:
    cells = [sampled_cells(records(25, seed=s), 25, s1_accuracies()) for s in range(2)]
    figure = relation_figure(
        cells,
        groups_by_trace_norm(cells),
        relations(cells)[0],
        reference,
        title="s1",
    )
    (axes,) = figure.axes
    assert axes.get_ylabel() == "test error, %"
    assert "trace norm" in axes.get_xlabel()
    legend = axes.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert "samples of 2 seeds, n = 50" in labels
    assert "tenths by e: mean ± ½ std, n = 4 to 6 each" in labels


def test_figures_leave_no_trace_in_matplotlib(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    tables = [records(12)]
    render(agnostic_figure({"random-data": compare_modes(tables, tables, 12)}, title="t"))
    assert dict(mpl.rcParams) == before
