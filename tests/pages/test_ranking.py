"""Pages about rankings, of answers made up for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from vl_convert import vegalite_to_svg

from nasi_ray.pages.ranking import ranking_part
from nasi_ray.pages.specs import still
from nasi_ray.storage import LocalStorage
from tests.pages.test_pages import figures, texts
from tests.ranking.test_text import proxy, result

UNKNOWN = {"low": None, "high": None, "n": 9}


@pytest.mark.parametrize("value", [0.75, -0.5])
def test_without_draws_no_interval_is_drawn_and_no_correlation_is_sure(
    value: float, tmp_path: Path
) -> None:
    bare = proxy("snip", value, spearman={"value": value, **UNKNOWN})
    drawn = proxy("zen", 0.5)
    part = ranking_part(LocalStorage(tmp_path), result(bare, drawn))
    assert not [text for text in texts([part]) if text.startswith("Not shown")]
    figure = figures([part])["correlations"]
    assert {row[0]: row[1:] for row in figure.rows} == {
        "snip": (f"{value:+.3f}", "?", "?"),
        "zen": ("+0.500", "+0.400", "+0.600"),
    }
    shown = {row["name"]: row for row in figure.spec["data"]["values"]}
    assert {name: row["state"] for name, row in shown.items()} == {
        "snip": "may be 0",
        "zen": "not 0",
    }
    assert (shown["snip"]["low"], shown["snip"]["high"]) == (value, value)
    assert vegalite_to_svg(still(figure.spec)).startswith("<svg")


@pytest.mark.parametrize(
    ("low", "high", "state"),
    [(0.1, 0.9, "not 0"), (-0.9, -0.1, "not 0"), (-0.1, 0.9, "may be 0"), (0.0, 0.9, "may be 0")],
)
def test_a_correlation_whose_interval_holds_0_may_be_0(
    low: float, high: float, state: str, tmp_path: Path
) -> None:
    found: dict[str, Any] = {"value": (low + high) / 2, "low": low, "high": high, "n": 9}
    part = ranking_part(LocalStorage(tmp_path), result(proxy("snip", 0.0, spearman=found)))
    (row,) = figures([part])["correlations"].spec["data"]["values"]
    assert row["state"] == state
