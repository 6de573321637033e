from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from nasi_ray.arrays import FloatArray
from nasi_ray.ranking import plot as ranking_plot
from nasi_ray.ranking.plot import save_ranking_plots
from nasi_ray.ranking.scores import ProxyScores
from nasi_ray.statistics import deciles, mean_over_seeds


def of_proxy(name: str, scores: FloatArray) -> ProxyScores:
    return ProxyScores(
        proxy=name,
        seeds=(0,),
        scores=scores[None],
        num_failed=0,
        num_lost=0,
        num_absent=0,
        reasons={},
        seconds=np.empty(0),
    )


def result(scores: list[ProxyScores], error: FloatArray) -> dict[str, Any]:
    entries = []
    for proxy in scores:
        mean = mean_over_seeds(proxy.scores)
        there = np.isfinite(mean)
        entries.append(
            {
                "name": proxy.proxy,
                "higher_is_better": proxy.proxy != "ntk_condition",
                "spearman": {"value": None if not there.any() else 0.25},
                "deciles": [asdict(d) for d in deciles(mean[there], error[there])],
            }
        )
    return {
        "space": "s1",
        "architectures": {"num": len(error)},
        "metric": {"split": "test"},
        "proxies": entries,
    }


def a_case() -> tuple[dict[str, Any], list[ProxyScores], FloatArray]:
    rng = np.random.default_rng(0)
    error = 6 + rng.exponential(size=80)
    error[:2] = 90.0
    missing = np.where(rng.random(80) < 0.5, np.nan, rng.normal(size=80))
    scores = [
        of_proxy("trace_norm", np.exp(5 * rng.normal(size=80))),
        of_proxy("ntk_condition", missing),
        of_proxy("zen", np.full(80, np.nan)),
        of_proxy("num_params", np.full(80, 3.0)),
        of_proxy("synflow", 1e300 * np.ones(80)),
    ]
    return result(scores, error), scores, error


def test_pictures_of_any_scores_are_drawn_and_are_the_same_again() -> None:
    case = a_case()
    files = save_ranking_plots(*case)
    assert sorted(files) == ["deciles.png", "deciles.svg", "scatter.png", "scatter.svg"]
    assert files == save_ranking_plots(*case)
    for name in ("scatter.png", "deciles.png"):
        image = Image.open(io.BytesIO(files[name]))
        assert image.size[0] > 900
    assert files["scatter.svg"].lstrip().startswith(b"<?xml")


def one_panel(position: int, draw: ranking_plot.Draw) -> tuple[Axes, dict[str, Any]]:
    found, scores, _ = a_case()
    entry = found["proxies"][position]
    figure = ranking_plot._panels(
        "title", {**found, "proxies": [entry]}, scores[position : position + 1], draw
    )
    (axes,) = figure.axes
    return axes, entry


def test_an_accuracy_far_off_is_told_and_does_not_flatten_the_picture() -> None:
    error = a_case()[2]

    def draw(axes: Axes, proxy: ProxyScores, entry: Mapping[str, Any]) -> None:
        ranking_plot._draw_scatter(axes, mean_over_seeds(proxy.scores), error)

    axes, _ = one_panel(0, draw)
    assert axes.get_ylim()[1] < 30
    assert axes.get_xscale() == "log"
    assert axes.xaxis.get_minor_formatter()(3.0) == ""
    worst, best = axes.get_ylim()
    assert worst > best, "what is good is up, as a positive correlation with accuracy"
    num_left_out = int((error > worst).sum())
    assert num_left_out >= 2
    assert [text.get_text() for text in axes.texts] == [f"{num_left_out} below"]


def test_deciles_are_where_the_table_says() -> None:
    axes, entry = one_panel(1, lambda axes, proxy, entry: ranking_plot._draw_deciles(axes, entry))
    drawn = np.asarray(axes.lines[0].get_xydata()).tolist()
    assert drawn == [[group["score"], group["error"]] for group in entry["deciles"]]
    assert axes.get_title() == "ntk_condition (lower is better)   ρ = +0.25"


@pytest.mark.parametrize("num", [1, 4, 5, 14])
def test_there_is_a_panel_for_every_proxy(num: int) -> None:
    found, scores, _ = a_case()
    figure = ranking_plot._panels(
        "title",
        {**found, "proxies": found["proxies"][:1] * num},
        scores[:1] * num,
        lambda axes, proxy, entry: None,
    )
    assert len(figure.axes) == num
