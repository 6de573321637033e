from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from nasi_ray.arrays import FloatArray
from nasi_ray.proxies import get_proxy
from nasi_ray.ranking.scores import ProxyScores
from nasi_ray.ranking.summary import BootstrapConfig, summarise_proxy, warnings_of
from nasi_ray.statistics import coefficient, partial_spearman

BOOTSTRAP = BootstrapConfig(num_bootstrap=50, seed=0)
NAN = np.nan


def scores_of(*rows: list[float], proxy: str = "snip") -> ProxyScores:
    scores = np.array(rows)
    return ProxyScores(
        proxy=proxy,
        seeds=tuple(range(len(rows))),
        scores=scores,
        num_failed=int(np.isnan(scores).sum()),
        num_lost=0,
        num_absent=0,
        reasons={f"reason {i}": 9 - i for i in range(8)},
        seconds=np.array([0.25, 0.75]),
    )


def summary(scores: ProxyScores, error: FloatArray | None) -> dict[str, Any]:
    found = summarise_proxy(scores, get_proxy(scores.proxy), error, BOOTSTRAP)
    json.dumps(found, allow_nan=False)
    return found


def test_missing_scores_are_counted_and_in_no_number() -> None:
    error = np.array([5.0, 6.0, 7.0, 8.0, 50.0])
    found = summary(scores_of([4.0, 3.0, 5.0, 1.0, NAN], [4.0, 3.0, 5.0, 3.0, 2.0]), error)
    assert (found["num_scored"], found["num_missing"], found["num_failed"]) == (4, 1, 1)
    mean = np.array([4.0, 3.0, 5.0, 2.0])
    assert found["spearman"]["value"] == coefficient(mean, 100 - error[:4], "spearman")
    assert found["kendall"]["value"] == coefficient(mean, 100 - error[:4], "kendall")
    assert found["spearman"]["n"] == 4
    assert [(row["seed"], row["n"]) for row in found["per_seed"]] == [(0, 4), (1, 5)]
    assert sum(group["num"] for group in found["deciles"]) == 4
    assert found["seconds_per_score"] == 0.5
    assert list(found["reasons"]) == [f"reason {i}" for i in range(5)]


@pytest.mark.parametrize(("proxy", "column"), [("snip", 2), ("ntk_condition", 1)])
def test_the_best_is_the_one_the_proxy_would_take(proxy: str, column: int) -> None:
    error = np.array([9.0, 8.0, 7.0, 6.0])
    found = summary(scores_of([3.0, 1.0, 5.0, 2.0], proxy=proxy), error)
    assert found["best"]["column"] == column
    assert found["best"]["error_percent"] == error[column]
    assert found["best"]["num_better"] == int((error < error[column]).sum())


def test_the_sign_is_not_turned_for_proxies_of_which_less_is_better() -> None:
    error = np.array([9.0, 8.0, 7.0])
    found = summary(scores_of([3.0, 2.0, 1.0], proxy="ntk_condition"), error)
    assert found["spearman"]["value"] == pytest.approx(-1)
    assert found["higher_is_better"] is False


def test_without_accuracies_there_is_no_correlation_and_none_is_made_up() -> None:
    found = summary(scores_of([1.0, 2.0], [2.0, 3.0]), None)
    assert not {"spearman", "kendall", "deciles", "best", "per_seed"} & set(found)
    assert found["seed_agreement"] == pytest.approx(1)


def test_no_scores_at_all_have_no_statistics() -> None:
    found = summary(scores_of([NAN, NAN]), np.array([1.0, 2.0]))
    assert found["spearman"] == {"value": None, "low": None, "high": None, "n": 0}
    assert found["deciles"] == []
    assert found["best"] is None


def entry(name: str, value: float | None, high: float | None = None) -> dict[str, Any]:
    return {"name": name, "spearman": {"value": value, "low": None, "high": high, "n": 9}}


@pytest.mark.parametrize(
    ("trace_norm", "params", "expected"),
    [
        (entry("trace_norm", -0.3, -0.1), 0.2, ["interval is below 0", "worse than the number"]),
        (entry("trace_norm", -0.1, 0.1), -0.5, ["though its interval includes 0"]),
        (entry("trace_norm", 0.3), 0.4, ["+0.300 against +0.400"]),
        (entry("trace_norm", 0.5), 0.4, []),
        (entry("trace_norm", 0.5), None, []),
        (entry("trace_norm", None), 0.4, []),
        (entry("snip", -0.5), 0.4, []),
        ({"name": "trace_norm"}, 0.4, []),
    ],
)
def test_a_trace_norm_that_misleads_is_warned_of(
    trace_norm: dict[str, Any], params: float | None, expected: list[str]
) -> None:
    lines = warnings_of([entry("num_params", params), trace_norm])
    assert len(lines) == len(expected)
    for line, part in zip(lines, expected, strict=True):
        assert part in line


@pytest.mark.parametrize(("proxy", "sign"), [("snip", 1), ("ntk_condition", -1)])
@pytest.mark.parametrize("num", [1, 4, 5, 7, 10, 11])
def test_both_ends_of_the_ranking_hold_each_architecture_once(
    proxy: str, sign: int, num: int
) -> None:
    values = np.random.default_rng(num).permutation(num).astype(float)
    found = summary(scores_of([*(sign * values).tolist(), NAN], proxy=proxy), None)
    best = np.argsort(-values).tolist()
    columns = [row["column"] for row in (*found["highest_ranked"], *found["lowest_ranked"])]
    assert columns == ([*best[:5], *best[-5:]] if num > 10 else best)
    assert all(row["score"] == sign * values[row["column"]] for row in found["lowest_ranked"])


def test_beyond_size_leaves_out_what_has_no_score_or_no_size() -> None:
    error = np.array([9.0, 7.5, 8.0, 6.0, 5.5, 7.0, 1.0, 2.0])
    scores = [3.0, 1.0, 5.0, 2.0, 6.0, 4.0, NAN, 7.0]
    size = np.array([10.0, 30.0, 20.0, 50.0, 40.0, 60.0, 70.0, NAN])
    found = summarise_proxy(scores_of(scores), get_proxy("snip"), error, BOOTSTRAP, size=size)
    x = np.array(scores[:6])
    assert found["beyond_size"] == partial_spearman(x, 100 - error[:6], size[:6])
    same = summarise_proxy(
        scores_of(size.tolist()), get_proxy("num_params"), error, BOOTSTRAP, size=size
    )
    assert same["beyond_size"] is None
    assert summary(scores_of(scores), error)["beyond_size"] is None


@pytest.mark.parametrize("num_bootstrap", [0, 50])
def test_beyond_size_has_an_interval_where_it_is_defined(num_bootstrap: int) -> None:
    rng = np.random.default_rng(0)
    size = rng.normal(size=40)
    shared = size + rng.normal(size=40)
    scores, error = shared + rng.normal(size=40), 50 - shared
    settings = BootstrapConfig(num_bootstrap=num_bootstrap, seed=0)
    snip = get_proxy("snip")
    found = summarise_proxy(scores_of(scores.tolist()), snip, error, settings, size=size)
    interval = found["beyond_size_interval"]
    if num_bootstrap:
        assert 0 < interval["low"] <= found["beyond_size"] <= interval["high"] <= 1
    else:
        assert interval == {"low": None, "high": None}
    same = summarise_proxy(scores_of(size.tolist()), snip, error, settings, size=size)
    assert same["beyond_size"] is None
    assert same["beyond_size_interval"] == {"low": None, "high": None}
    unknown = summarise_proxy(scores_of(scores.tolist()), snip, error, settings)
    assert (unknown["beyond_size"], unknown["beyond_size_interval"]) == (None, None)
    json.dumps([found, same, unknown], allow_nan=False)


def test_without_draws_a_warning_says_nothing_of_an_interval() -> None:
    error = np.array([5.0, 6.0, 7.0, 8.0])
    falling = scores_of([1.0, 2.0, 3.0, 4.0], proxy="trace_norm")
    settings = BootstrapConfig(num_bootstrap=0, seed=0)
    (line,) = warnings_of([summarise_proxy(falling, get_proxy("trace_norm"), error, settings)])
    assert "anti-correlated with accuracy (Spearman -1.000): " in line
    assert "interval" not in line
    drawn = BootstrapConfig(num_bootstrap=50, seed=0)
    (line,) = warnings_of([summarise_proxy(falling, get_proxy("trace_norm"), error, drawn)])
    assert "interval" in line
