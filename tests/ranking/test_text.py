from __future__ import annotations

from typing import Any

import pytest

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


def test_proxies_are_listed_by_signed_correlation_undefined_ones_last() -> None:
    found = result(proxy("snip", -0.4), proxy("zen", None), proxy("naswot", 0.5))
    lines = ranking_lines(found).splitlines()
    assert lines[0] == "s1: 10 of 2685 architectures, 2 seeds, 0:01:15"
    assert [line.split()[0] for line in lines[3:6]] == ["naswot", "snip", "zen"]
    assert "+0.500 [+0.400, +0.600]" in lines[3]
    assert "-0.400 [-0.500, -0.300]" in lines[4]
    assert lines[5].split()[1:] == ["9", "1", "?", "?", "?", "6.25"]


def test_what_less_is_better_of_says_so() -> None:
    found = result(proxy("ntk_condition", 0.1, higher_is_better=False))
    assert "ntk_condition (lower is better)" in ranking_lines(found)


def test_the_accuracy_is_named_with_split_and_schedule() -> None:
    text = ranking_lines(result(proxy("snip", 0.1)))
    assert "test_accuracy of t.parquet (cifar10 test, 108 epochs)" in text


def test_without_a_table_it_says_that_no_accuracy_is_known() -> None:
    plain = {k: v for k, v in proxy("snip", None).items() if k not in ("spearman", "deciles")}
    found = result(plain, metric=None, table=None)
    for text in (ranking_lines(found), ranking_markdown(found)):
        assert "No table was given, so no accuracy is known" in text
        assert "Spearman" not in text


def test_warnings_stand_out() -> None:
    found = result(proxy("trace_norm", -0.2), warnings=["the trace norm\nis bad"])
    assert ranking_lines(found).splitlines()[-1] == "WARNING: the trace norm is bad"
    assert "**Warning:** the trace norm is bad." in ranking_markdown(found).splitlines()[2]


@pytest.mark.parametrize("render", [ranking_lines, ranking_markdown])
def test_failed_and_lost_scores_are_told_with_a_reason(render: Any) -> None:
    bad = proxy("zen", 0.1, num_failed=1, num_lost=2, reasons={"it is\x1b[2J -inf": 2, "b": 1})
    text = render(result(bad))
    assert "zen: 1 score failed, 2 scores lost, most often (2): it is -inf" in text
    assert "2 scores lost at every attempt: this is the ranking of the others" in text


def test_markdown_has_the_deciles_and_the_settings() -> None:
    text = ranking_markdown(result(proxy("snip", 0.1), proxy("zen", None, deciles=[])))
    assert "| snip | 6.50 ± 0.25 |" in text
    assert "| zen |  |" in text
    assert "| temperature | 0.1235 |" in text
    assert text.startswith("# s1: 10 of 2685")
