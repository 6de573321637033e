"""The text at the end of a search."""

from __future__ import annotations

import ast
import json
import math
import re
from typing import Any

import numpy as np
import pytest

from nasi_ray.errors import InvalidGenotypeError, RecordCorruptError, UnknownNameError
from nasi_ray.search.text import DecisionRow, decision_rows, lost_warning, summary_lines
from nasi_ray.spaces import get_space
from nasi_ray.spaces.nb1shot1 import S1

SPACE = get_space("darts")


def _result() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    alpha = {d.name: generator.normal(size=d.size) for d in SPACE.decisions}
    ordered = {name: np.sort(logits)[::-1] for name, logits in alpha.items()}
    return {
        "space": "darts",
        "seed": 3,
        "method": "fix",
        "nu": 100.0,
        "mu": 2.0,
        "num_samples": 100,
        "num_failed": 0,
        "alpha": {name: logits.tolist() for name, logits in alpha.items()},
        "margins": {name: float(x[0] - x[1]) for name, x in ordered.items()},
        "margin_errors": dict.fromkeys(alpha, 0.05),
        **SPACE.select(alpha, pairing="rank").fields(),
        "trace_norm": {"mean": 123.456, "std": 7.5, "min": 100.0, "max": 150.0},
        "seconds": 3723.0,
    }


def _line(text: str, decision: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(decision + " "))


def test_every_decision_has_a_line_with_its_choices_and_margin() -> None:
    result = _result()
    text = summary_lines(result)
    for decision in SPACE.decisions:
        best = np.argsort(-np.array(result["alpha"][decision.name]))
        line = _line(text, decision.name)
        cells = re.split(r"\s{2,}", line)
        assert cells[:3] == [decision.name, *(decision.candidates[i] for i in best[:2])]
        assert float(cells[3].split(" ± ")[0]) == pytest.approx(
            result["margins"][decision.name], abs=0.006
        )
        assert float(cells[4]) == pytest.approx(result["margins"][decision.name] / 0.05, abs=0.11)


def test_the_head_names_the_settings() -> None:
    head = summary_lines(_result()).splitlines()[:3]
    assert head == [
        "Search of darts, seed 3: 100 samples in 1:02:03",
        "method fix, ν 100, μ 2",
        "trace norm e: mean 123.5, std 7.5, min 100, max 150",
    ]


def test_a_sweep_names_no_single_constraint() -> None:
    for nu in (100.0, [100.0, 99.0]):
        text = summary_lines(_result() | {"nu": nu, "nu_asked": "sweep"})
        assert "ν at every fifth percentile of e (median 100)" in text


def test_an_adapted_constraint_is_shown_as_its_range() -> None:
    result = _result() | {"method": "ada", "nu": [500.0, 520.0, 480.0], "num_failed": 2}
    head = summary_lines(result).splitlines()[:2]
    assert head[0] == "Search of darts, seed 3: 100 samples (2 failed) in 1:02:03"
    assert head[1] == "method ada, ν 500 to 480 in 3 steps (between 480 and 520), μ 2"


def test_margins_under_two_errors_are_marked_undecided() -> None:
    result = _result()
    names = list(result["margins"])
    result["margins"] = dict.fromkeys(names, 0.1)
    result["margin_errors"] = dict.fromkeys(names, 0.05) | {names[0]: 0.0501, names[5]: 1.0}
    text = summary_lines(result)
    marked = [name for name in names if "undecided" in _line(text, name)]
    assert marked == [names[0], names[5]]
    assert "2 of 16 decisions are undecided (under 2 standard errors)" in text


def test_sure_decisions_are_said_to_be_sure() -> None:
    result = _result()
    result["margin_errors"] = dict.fromkeys(result["margins"], 1e-9)
    assert "All 16 decisions are at least 2 standard errors apart." in summary_lines(result)


@pytest.mark.parametrize("error", [None, math.nan, math.inf])
def test_an_unknown_error_is_undecided(error: float | None) -> None:
    result = _result()
    result["margin_errors"]["normal/node0/op"] = error
    line = _line(summary_lines(result), "normal/node0/op")
    assert "± ?" in line
    assert line.endswith("?  undecided")


@pytest.mark.parametrize(
    ("margin", "shown"), [(1.99, "1.9  undecided"), (2.0, "2.0"), (99.9, "99.9"), (1e9, ">99")]
)
def test_the_ratio_shown_agrees_with_the_mark(margin: float, shown: str) -> None:
    row = DecisionRow(name="x", first="a", second="b", margin=margin, error=1.0)
    assert row.cells[-1] == shown


@pytest.mark.parametrize(("margin", "undecided"), [(0.0, True), (0.1, False)])
def test_an_error_of_zero_decides_all_but_a_tie(margin: float, undecided: bool) -> None:
    row = DecisionRow(name="x", first="a", second="b", margin=margin, error=0.0)
    assert row.undecided is undecided


def test_ties_go_to_the_candidate_that_comes_first() -> None:
    result = _result()
    result["alpha"]["normal/node0/input"] = [0.5, 0.5]
    row = next(r for r in decision_rows(result) if r.name == "normal/node0/input")
    assert (row.first, row.second) == ("c_{k-2}", "c_{k-1}")


def test_the_cell_is_python_source_of_the_darts_tuple() -> None:
    result = _result()
    text = summary_lines(result)
    call = ast.parse(text[text.index("Genotype(") :].strip(), mode="eval").body
    assert isinstance(call, ast.Call)
    fields = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    assert json.loads(json.dumps(fields)) == result["genotype"]


def test_plain_text_fits_80_columns_and_has_no_escape_codes() -> None:
    result = _result()
    result["margin_errors"] = dict.fromkeys(result["margins"], 10.0)
    text = summary_lines(result)
    assert text.endswith(")\n")
    assert not [c for c in text if not c.isprintable() and c != "\n"]
    assert max(map(len, text.splitlines())) <= 80


def test_colours_change_nothing_but_the_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    result = _result()
    result["margin_errors"]["normal/node0/op"] = 100.0
    plain, coloured = summary_lines(result), summary_lines(result, color=True)
    assert "\x1b[33m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


@pytest.mark.parametrize("key", sorted(_result()))
def test_a_missing_field_is_named(key: str) -> None:
    result = _result()
    del result[key]
    with pytest.raises(RecordCorruptError, match=key):
        summary_lines(result)


def test_a_decision_with_other_logits_than_the_space_is_refused() -> None:
    result = _result()
    result["alpha"]["reduce/node1/op"] = [0.0, 1.0]
    with pytest.raises(RecordCorruptError, match="reduce/node1/op has 2 logits, the space has 7"):
        summary_lines(result)


def test_an_unknown_space_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="choose one of"):
        summary_lines(_result() | {"space": "no-such-space"})


def test_a_tabular_architecture_is_shown_in_the_tables_notation() -> None:
    names = [d.name for d in S1.decisions if d.size > d.num_chosen]
    result = _result() | {
        "space": "s1",
        "alpha": {d.name: [float(-i) for i in range(d.size)] for d in S1.decisions},
        "margins": dict.fromkeys(names, 1.0),
        "margin_errors": dict.fromkeys(names, 0.1),
        "architecture": "0;0,1;0,1;0,1;0,1|3,1,m,3",
        "hash": "ab" * 16,
    }
    del result["genotype"]
    text = summary_lines(result)
    assert "Architecture 0;0,1;0,1;0,1;0,1|3,1,m,3" in text
    assert "ab" * 16 in text
    assert "All 7 decisions" in text
    assert "block2/parents" not in text  # both of its candidates are always taken


def test_what_the_cell_keeps_has_a_verdict_of_its_own() -> None:
    names = ["normal/node0/op", "normal/node1/op", "reduce/node3/input"]
    result = _result() | {
        "kept_margins": dict(zip(names, [1.0, 0.1, 0.0], strict=True)),
        "kept_margin_errors": dict(zip(names, [0.1, 0.1, None], strict=True)),
    }
    assert "first left out): 2 of 3 undecided." in summary_lines(result)
    assert "first left out" not in summary_lines(_result())


def test_a_broken_genotype_is_refused() -> None:
    with pytest.raises(InvalidGenotypeError):
        summary_lines(_result() | {"genotype": {"normal": []}})


def test_lost_samples_are_named_in_a_warning() -> None:
    assert lost_warning(_result()) is None
    assert lost_warning(_result() | {"lost": []}) is None
    one = lost_warning(_result() | {"lost": [17]})
    assert one is not None
    assert one.startswith("warning: 1 sample was lost at every attempt (17): this is the answer of")
    many = lost_warning(_result() | {"lost": list(range(30))})
    assert many is not None
    assert "30 samples were lost at every attempt (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...)" in many
