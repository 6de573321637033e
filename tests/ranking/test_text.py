from __future__ import annotations

from typing import Any

import pytest

from nasi_ray.proxies import PROXIES
from nasi_ray.ranking.text import ranking_lines, ranking_markdown


def proxy(name: str, value: float | None, **changes: Any) -> dict[str, Any]:
    interval = {"value": value, "low": None, "high": None, "n": 9}
    if value is not None:
        interval |= {"low": value - 0.1, "high": value + 0.1}
    return {
        "name": name,
        "higher_is_better": True,
        "num_scored": 9,
        "num_missing": 1,
        "num_failed": 0,
        "num_lost": 0,
        "num_absent": 0,
        "reasons": {},
        "seed_agreement": None,
        "spearman": interval,
        "kendall": interval,
        "deciles": [{"num": 4, "score": 1.0, "error": 6.5, "std": 0.25}],
        "highest_ranked": [{"architecture": "a|b", "score": 2.0}],
        "lowest_ranked": [{"architecture": "c|d", "score": -1.25}],
        "best": {"architecture": "a|b", "score": 2.0, "error_percent": 6.25, "num_better": 3},
        **changes,
    }


def result(*proxies: dict[str, Any], **changes: Any) -> dict[str, Any]:
    metric = {"column": "test_accuracy", "dataset": "cifar10", "split": "test", "epochs": 108}
    return {
        "space": "s1",
        "architectures": {"asked": "10", "num": 10, "num_distinct_in_space": 2685},
        "seeds": [0, 1],
        "seconds": 75.0,
        "table": "t.parquet",
        "metric": metric,
        "proxies": list(proxies),
        "warnings": [],
        "settings": {"data": "random", "temperature": 0.12345},
        **changes,
    }


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def test_proxies_are_listed_by_signed_correlation_undefined_ones_last() -> None:
    found = result(proxy("snip", -0.4), proxy("zen", None), proxy("naswot", 0.5))
    lines = ranking_lines(found).splitlines()
    assert lines[0] == "s1: 10 of 2685 architectures, 2 seeds, 0:01:15"
    for start in (3, 8):
        assert [line.split()[0] for line in lines[start : start + 3]] == ["naswot", "snip", "zen"]
    assert "+0.500 [+0.400, +0.600]" in lines[3]
    assert "-0.400 [-0.500, -0.300]" in lines[4]
    assert lines[5].split()[1:] == ["9", "?", "?"]
    assert lines[10].split()[1:] == ["1", "?", "?", "6.25"]


def test_the_table_of_the_markdown_file_has_all_columns() -> None:
    text = ranking_markdown(result(proxy("snip", -0.4)))
    assert (
        "| proxy | n | missing | Spearman | Kendall τ-b | beyond size | seeds agree | "
        "best's error |" in text
    )
    interval = "-0.400 [-0.500, -0.300]"
    assert f"| snip | 9 | 1 | {interval} | {interval} | ? | ? | 6.25 |" in text
    text = ranking_markdown(result(proxy("snip", -0.4, beyond_size=-0.25)))
    assert f"| {interval} | {interval} | -0.250 | ? | 6.25 |" in text


@pytest.mark.parametrize("render", [ranking_lines, ranking_markdown])
def test_what_less_is_better_of_is_marked(render: Any) -> None:
    note = "A * marks proxies for which a lower score is better."
    text = render(result(proxy("ntk_condition", 0.1, higher_is_better=False), proxy("zen", 0.2)))
    assert "ntk_condition * " in text
    assert "zen *" not in text
    assert note in text
    assert note not in render(result(proxy("zen", 0.2)))


@pytest.mark.parametrize("render", [ranking_lines, ranking_markdown])
def test_the_accuracy_is_named_with_split_and_schedule(render: Any) -> None:
    text = unwrapped(render(result(proxy("snip", 0.1))))
    assert "test_accuracy of t.parquet (cifar10 test, 108 epochs)" in text


def test_every_line_fits_80_columns_for_all_proxies() -> None:
    entries = [
        proxy(name, -0.5, higher_is_better=name != "zen", num_scored=55854, num_missing=9)
        for name in PROXIES
    ]
    entries[0] |= {"num_failed": 2, "reasons": {"the proxy has no finite score here " * 3: 2}}
    found = result(*entries, warnings=["the trace norm is bad " * 9], table="a/b.parquet")
    for settings in (found, found | {"metric": None, "table": None}):
        lines = ranking_lines(settings).splitlines()
        assert max(map(len, lines)) <= 80
        assert all(any(line.startswith(f"{name} ") for line in lines) for name in PROXIES)


def test_a_proxy_of_a_long_name_still_fits() -> None:
    lines = ranking_lines(result(proxy("a_proxy_of_someone_with_a_long_name" * 2, 0.1)))
    assert max(map(len, lines.splitlines())) <= 80


def test_without_a_table_it_says_that_no_accuracy_is_known() -> None:
    plain = {k: v for k, v in proxy("snip", None).items() if k not in ("spearman", "deciles")}
    found = result(plain, metric=None, table=None)
    for text in (ranking_lines(found), ranking_markdown(found)):
        assert "No table was given, so no accuracy is known" in text
        assert "Spearman" not in text


def test_limits_are_named() -> None:
    found = result(proxy("snip", 0.1))
    assert "most channels" not in unwrapped(ranking_lines(found))
    found["settings"] |= {"max_params": "4M", "max_madds": "60M"}
    said = "Each network has the most channels with at most 4M parameters and 60M multiply-adds."
    assert said in unwrapped(ranking_lines(found))


def test_warnings_stand_out() -> None:
    found = result(proxy("trace_norm", -0.2), warnings=["the trace norm\nis bad"])
    assert ranking_lines(found).splitlines()[-1] == "WARNING: the trace norm is bad"
    assert "**Warning:** the trace norm is bad." in ranking_markdown(found).splitlines()[2]


@pytest.mark.parametrize("render", [ranking_lines, ranking_markdown])
def test_failed_and_lost_scores_are_told_with_a_reason(render: Any) -> None:
    bad = proxy("zen", 0.1, num_failed=1, num_lost=2, reasons={"it is\x1b[2J -inf": 2, "b": 1})
    text = unwrapped(render(result(bad)))
    assert "zen: 1 score failed, 2 scores lost, most often (2): it is -inf" in text
    assert "Every attempt to compute 2 scores failed: this is the ranking of the others" in text


def test_markdown_has_the_deciles_and_the_settings() -> None:
    text = ranking_markdown(result(proxy("snip", 0.1), proxy("zen", None, deciles=[])))
    assert "| snip | 6.50 ± 0.25 |" in text
    assert "| zen |  |" in text
    assert "| temperature | 0.1235 |" in text
    assert text.startswith("# s1: 10 of 2685")


@pytest.mark.parametrize("render", [ranking_lines, ranking_markdown])
def test_no_string_of_a_result_reaches_the_screen_raw(render: Any) -> None:
    hostile = "a\x1b[2J\n\x07\u202eb\udcff"
    entry = proxy("zen", 0.1, num_failed=1, reasons={"x": 1}, higher_is_better=False)
    clean = result(entry, warnings=["w"])
    clean_lines = len(render(clean).splitlines())
    cases = [clean | {key: hostile} for key, value in clean.items() if isinstance(value, str)]
    cases += [clean | {"metric": clean["metric"] | {key: hostile}} for key in clean["metric"]]
    cases += [
        clean | {"warnings": [hostile]},
        clean | {"settings": {hostile: hostile}},
        clean | {"proxies": [entry | {"name": hostile, "reasons": {hostile: 1}}]},
    ]
    for case in cases:
        text = render(case)
        assert not [c for c in text if not c.isprintable() and c != "\n"]
        assert abs(len(text.splitlines()) - clean_lines) <= 1  # a line break of ours at most


def test_without_a_table_the_best_and_the_worst_are_listed() -> None:
    plain = {k: v for k, v in proxy("snip", None).items() if k not in ("spearman", "deciles")}
    size = plain | {"name": "num_params", "highest_ranked": [{"architecture": "x", "score": 7.0}]}
    found = result(size, plain, metric=None, table=None)
    lines = ranking_lines(found).splitlines()
    start = lines.index("Best and worst by snip: rank, score, architecture")
    assert lines[start + 1 : start + 3] == ["  1. 2 a|b", "  9. -1.25 c|d"]
    assert not any("num_params:" in line for line in lines)
    assert "Best and worst" not in ranking_lines(result(proxy("snip", 0.1)))
    only = ranking_lines(result(size, metric=None, table=None))
    assert "Best and worst by num_params: " in only


def test_the_markdown_file_lists_the_best_and_the_worst() -> None:
    text = ranking_markdown(result(proxy("snip", 0.1)))
    assert "| snip | 1 | 2 | a\\|b |" in text
    assert "| snip | 9 | -1.25 | c\\|d |" in text


BEYOND = {"beyond_size": -0.25, "beyond_size_interval": {"low": -0.3, "high": -0.2}}


@pytest.mark.parametrize("render", [ranking_lines, ranking_markdown])
@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        (BEYOND, "-0.250 [-0.300, -0.200]"),
        (BEYOND | {"beyond_size_interval": {"low": None, "high": None}}, "-0.250"),
        ({"beyond_size": -0.25}, "-0.250"),
        ({"beyond_size": None, "beyond_size_interval": {"low": None, "high": None}}, "?"),
        ({"beyond_size": None, "beyond_size_interval": None}, "?"),
        ({}, "?"),
    ],
)
def test_beyond_size_has_its_interval_in_brackets_also_in_answers_from_before_it(
    render: Any, changes: dict[str, Any], shown: str
) -> None:
    text = render(result(proxy("snip", 0.75, **changes)))
    whole = "+0.750 [+0.650, +0.850]"
    lines = [line for line in text.splitlines() if line.startswith(("snip ", "| snip | 9"))]
    if render is ranking_lines:
        assert lines[0].split() == ["snip", "9", *whole.split(), *shown.split()]
        assert lines[1].split() == ["snip", "1", *whole.split(), "?", "6.25"]
    else:
        assert lines[0] == f"| snip | 9 | 1 | {whole} | {whole} | {shown} | ? | 6.25 |"


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_numbers_in_brackets_fit_80_columns_beside_a_long_name(higher_is_better: bool) -> None:
    name = "a_proxy_of_19_signs"
    assert len(name) == 19
    wide = proxy(
        name, -0.4, **BEYOND, seed_agreement=-0.125, num_scored=55854, num_missing=9,
        higher_is_better=higher_is_better,
    )  # fmt: skip
    lines = ranking_lines(result(wide)).splitlines()
    assert max(map(len, lines)) <= 80
    first, second = (line for line in lines if line.startswith(f"{name} "))
    assert first.endswith("55854  -0.400 [-0.500, -0.300]  -0.250 [-0.300, -0.200]")
    if higher_is_better:
        assert second.split()[1:] == ["9", "-0.400", "[-0.500,", "-0.300]", "-0.125", "6.25"]
    headings = [line for line in lines if line.startswith("proxy ")]
    assert [line.split()[-2:] for line in headings] == [["beyond", "size"], ["best's", "error"]]
