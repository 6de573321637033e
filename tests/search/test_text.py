"""The text at the end of a search."""

from __future__ import annotations

import ast
import json
import math
import re
from typing import Any

import numpy as np
import pytest

from nasi_ray.config import PATH_MEASUREMENTS
from nasi_ray.errors import (
    InvalidGenotypeError,
    NasiRayError,
    RecordCorruptError,
    UnknownNameError,
)
from nasi_ray.nasi.objectives import OBJECTIVES
from nasi_ray.search.text import DecisionRow, decision_rows, lost_warning, summary_lines
from nasi_ray.spaces import SPACES, get_space
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
        "probabilities": dict(zip(alpha, np.linspace(0.5, 1.0, len(alpha)), strict=True)),
        **SPACE.select(alpha, pairing="rank").fields(),
        "trace_norm": {"mean": 123.456, "std": 7.5, "min": 100.0, "max": 150.0},
        "seconds": 3723.0,
    }


def _result_of(name: str) -> dict[str, Any]:
    """A result of any space: as ``_result``, with the names that the space has."""
    space = get_space(name)
    generator = np.random.default_rng(0)
    alpha = {d.name: generator.normal(size=d.size) for d in space.decisions}
    free = [d.name for d in space.decisions if d.size > d.num_chosen]
    result = _result() | {
        "space": name,
        "alpha": {name: logits.tolist() for name, logits in alpha.items()},
        "margins": dict.fromkeys(free, 0.1),
        "margin_errors": dict.fromkeys(free, 0.05),
        "probabilities": dict.fromkeys(free, 0.96),
        "kept_margins": dict.fromkeys(free, 0.2),
        "kept_margin_errors": dict.fromkeys(free, 0.05),
    }
    if name != "darts":
        del result["genotype"]
        result |= {"architecture": space.select(alpha).to_string(), "hash": "ab" * 16}
    return result


def _strings(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in nested lists and dicts the strings are."""
    if isinstance(value, str):
        return [path]
    value = dict(enumerate(value)) if isinstance(value, list) else value
    entries = value.items() if isinstance(value, dict) else ()
    return [found for key, entry in entries for found in _strings(entry, (*path, key))]


def _replaced(value: Any, path: tuple[Any, ...], new: str) -> Any:
    """A copy with another string at a path."""
    if not path:
        return new
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[path[0]] = _replaced(copy[path[0]], path[1:], new)
    return copy


def _unwrapped(text: str | None) -> str:
    return " ".join((text or "").split())


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
        assert float(cells[4].removesuffix(" open").removesuffix(" %")) == pytest.approx(
            100 * result["probabilities"][decision.name], abs=1
        )


def _head(text: str) -> list[str]:
    """The paragraph of the settings, which is the second."""
    return text.split("\n\n")[1].splitlines()


def test_the_head_names_the_settings() -> None:
    assert _head(summary_lines(_result())) == [
        "Search of darts, seed 3: 100 samples in 1:02:03",
        "objective trace-norm: a large trace norm e, up to ν; estimator straight-through",
        "method fix, ν 100, μ 2",
        "trace norm e: mean 123.5, std 7.5, min 100, max 150",
    ]


def test_of_measurements_the_head_shows_those_that_the_objective_reads() -> None:
    spread = {"mean": 3.0, "std": 1.0, "min": 1.0, "max": 5.0}
    measured = dict.fromkeys(PATH_MEASUREMENTS, spread)
    for objective in OBJECTIVES:
        result = _result_of("s1") | {
            "objective": objective, "estimator": "second-order", "measured": measured,
        }  # fmt: skip
        for name in ("nu", "mu", "method", "trace_norm"):
            del result[name]
        head = _head(summary_lines(result))
        assert f"objective {objective}: " in head[1]
        assert "estimator second-order" in " ".join(head)
        shown = {line.split(":")[0] for line in head if ": mean 3, std 1, min 1, max 5" in line}
        assert shown == set(OBJECTIVES[objective].measurements)


def test_the_first_lines_are_the_answer_its_size_and_what_to_do() -> None:
    result = _result_of("s1") | {"num_params": 4_567_890.0, "multiply_adds": 7.234e9}
    first = summary_lines(result).split("\n\n")[0]
    answer = " ".join(first.split())
    assert answer.startswith(f"s1: {result['architecture']}; decided: all 7 decisions stand. ")
    assert "4.57 M parameters, 7,230 M multiply-adds. Next: train it" in answer
    long = " ".join(summary_lines(_result_of("nb201")).split())
    assert long.startswith("nb201: the architecture below; decided: all 6 decisions stand.")


def test_a_sweep_names_no_single_constraint() -> None:
    for nu in (100.0, [100.0, 99.0]):
        text = summary_lines(_result() | {"nu": nu, "nu_asked": "sweep"})
        assert "ν at every fifth percentile of e (median 100)" in text


def test_an_adapted_constraint_is_shown_as_its_range() -> None:
    result = _result() | {"method": "ada", "nu": [500.0, 520.0, 480.0], "num_failed": 2}
    head = _head(summary_lines(result))
    assert head[0] == "Search of darts, seed 3: 100 samples (2 failed) in 1:02:03"
    assert head[2] == "method ada, ν 500 to 480 in 3 steps (between 480 and 520), μ 2"


def test_decisions_that_stand_too_seldom_are_marked_as_open() -> None:
    result = _result()
    names = list(result["margins"])
    result["probabilities"] = dict.fromkeys(names, 0.95) | {names[0]: 0.949, names[5]: 0.0}
    text = summary_lines(result)
    marked = [name for name in names if _line(text, name).endswith("% open")]
    assert marked == [names[0], names[5]]
    assert "14 of 16 decisions stand, 2 are open" in _unwrapped(text)
    for seconds, told in (
        (40.0, "400; about 0:02:00 more on one core"),
        (0.3, "400"),
        (0.0, "400"),
    ):
        text = _unwrapped(summary_lines(result | {"sample_seconds": seconds}))
        assert f"(--num-samples {told}) halve the uncertainty" in text


def test_decisions_that_stand_need_no_more_samples() -> None:
    result = _result()
    result["probabilities"] = dict.fromkeys(result["margins"], 1.0)
    text = summary_lines(result)
    assert "decided: all 16 decisions stand" in _unwrapped(text)
    assert "open" not in text
    assert "--num-samples" not in text


def test_answers_without_probabilities_are_open_throughout() -> None:
    result = _result()
    del result["probabilities"]
    text = summary_lines(result)
    assert "0 of 16 decisions stand, 16 are open" in _unwrapped(text)
    assert all(_line(text, name).endswith("? open") for name in result["margins"])


def test_the_symbols_are_explained() -> None:
    lines = summary_lines(_result()).splitlines()
    for symbol in ("e", "ν, μ", "margin", "stands"):
        assert [line for line in lines if line.startswith(f"{symbol}: ")]


@pytest.mark.parametrize("error", [None, math.nan, math.inf])
def test_what_is_not_known_is_a_question_mark(error: float | None) -> None:
    result = _result()
    result["margin_errors"]["normal/node0/op"] = error
    result["probabilities"]["normal/node0/op"] = error
    line = _line(summary_lines(result), "normal/node0/op")
    assert "± ?" in line
    assert line.endswith("? open")


@pytest.mark.parametrize(
    ("probability", "shown"),
    [(None, "? open"), (0.0, "0 % open"), (0.9499, "94 % open"), (0.95, "95 %"), (1.0, "100 %")],
)
def test_the_share_shown_agrees_with_the_mark(probability: float | None, shown: str) -> None:
    row = DecisionRow(
        name="x", first="a", second="b", margin=1.0, error=1.0, probability=probability
    )
    assert row.cells[-1] == shown


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


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e-5, 1e-3, 0.1])
@pytest.mark.parametrize("space", SPACES)
def test_plain_text_of_every_space_fits_80_columns_without_escape_codes(
    space: str, scale: float
) -> None:
    result = _result_of(space)
    margins = result["margins"]
    for factor in (0.9, 1.7, 9.0):
        result["margins"] = dict.fromkeys(margins, factor * scale)
        result["margin_errors"] = dict.fromkeys(margins, scale)
        result["kept_margins"] = dict.fromkeys(margins, scale)
        result["kept_margin_errors"] = dict.fromkeys(margins, scale)
        text = summary_lines(result)
        assert text.endswith("\n")
        assert not [c for c in text if not c.isprintable() and c != "\n"]
        lines = [line for line in text.splitlines() if line != result.get("architecture")]
        assert max(map(len, lines)) <= 80
        if scale != 1e-6:  # whose margins are as wide as they can be
            assert all(_line(text, name) for name in margins)


def test_a_long_constraint_is_wrapped() -> None:
    result = _result() | {"method": "ada", "nu": [12345.6, *[0.00012345] * 1999], "mu": 0.123456}
    assert max(map(len, summary_lines(result).splitlines())) <= 80


def test_no_string_of_a_result_reaches_the_screen_raw() -> None:
    hostile = "a\x1b[2J\n\x07\u202eb\udcff"
    for space in SPACES:
        clean = _result_of(space) | {"lost": [hostile], "nu_asked": "auto"}
        for path in _strings(clean):
            try:
                texts = [
                    summary_lines(_replaced(clean, path, hostile), color=c) for c in (False, True)
                ]
            except NasiRayError:  # names that must be known
                continue
            plain = [texts[0], re.sub(r"\x1b\[[0-9;]*m", "", texts[1])]
            plain.append(lost_warning(_replaced(clean, path, hostile)) or "")
            for text in plain:
                assert not [c for c in text if not c.isprintable() and c != "\n"], path


def test_colours_change_nothing_but_the_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    result = _result()
    result["probabilities"]["normal/node0/op"] = 0.1
    plain, coloured = summary_lines(result), summary_lines(result, color=True)
    assert "\x1b[33m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


@pytest.mark.parametrize("key", sorted(_result().keys() - {"probabilities"}))
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
        "probabilities": dict.fromkeys(names, 1.0),
        "architecture": "0;0,1;0,1;0,1;0,1|3,1,m,3",
        "hash": "ab" * 16,
    }
    del result["genotype"]
    text = summary_lines(result)
    assert "Architecture 0;0,1;0,1;0,1;0,1|3,1,m,3" in text
    assert "ab" * 16 in text
    assert "all 7 decisions stand" in _unwrapped(text)
    assert "block2/parents" not in text  # both of its candidates are always taken


def test_what_the_cell_keeps_has_a_verdict_of_its_own() -> None:
    names = ["normal/node0/op", "normal/node1/op", "reduce/node3/input"]
    kept = {"kept_probabilities": dict(zip(names, [0.99, 0.1, None], strict=True))}
    text = _unwrapped(summary_lines(_result() | kept))
    assert "(1 of 3 decisions on what the cell keeps stand). Equally good" in text


def test_a_broken_genotype_is_refused() -> None:
    with pytest.raises(InvalidGenotypeError):
        summary_lines(_result() | {"genotype": {"normal": []}})


def test_lost_samples_are_named_in_a_warning() -> None:
    assert lost_warning(_result()) is None
    assert lost_warning(_result() | {"lost": []}) is None
    one = _unwrapped(lost_warning(_result() | {"lost": [17]}))
    assert one.startswith("warning: every attempt to evaluate 1 sample failed (17); the result")
    many = lost_warning(_result() | {"lost": list(range(30))})
    assert "evaluate 30 samples failed (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...)" in (_unwrapped(many))
    assert max(map(len, (many or "").splitlines())) <= 80


@pytest.mark.parametrize("limit", ["max_params", "max_madds"])
def test_the_legend_says_that_margins_are_within_the_limits(limit: str) -> None:
    def margin_of(result: dict[str, Any]) -> str:
        text = _unwrapped(summary_lines(result))
        return text.partition("margin: ")[2].partition(" stands: ")[0]

    plain = _result_of("nb201")
    assert margin_of(plain).startswith("α of the first choice minus α of the second")
    assert margin_of(plain | {limit: None}) == margin_of(plain)
    limited = margin_of(plain | {limit: 2e5})
    assert "sum of α (eq. 18) of the best cell within the limits minus" in limited
    assert "within the limits" not in margin_of(plain)
    assert "price of size" not in limited
    assert "less the smallest price of size" in margin_of(_result() | {limit: 2e5})
    assert "price of size" not in margin_of(_result())
    score = plain | {"estimator": "second-order", "objective": "trace-norm", limit: 2e5}
    assert margin_of(score) == margin_of(score | {limit: None}) != limited
    lines = summary_lines(plain | {limit: 2e5}).splitlines()
    assert max(len(line) for line in lines if line != plain["architecture"]) <= 80
