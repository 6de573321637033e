from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasi_ray.errors import ConfigError
from nasi_ray.pool.cost import CostMeter, NodeUse, PriceList, load_prices, node_type

PRICES = PriceList(usd_per_hour={"gpu_spot": 0.45, "head": 0.2}, source="prices.json")
HOUR = 3600.0


def node(name: str, kind: str = "", *, alive: bool = True) -> dict[str, Any]:
    labels = {"ray.io/node-group": kind} if kind else {}
    return {"NodeID": name, "Alive": alive, "Labels": labels, "Resources": {}}


def test_lifetimes_are_integrated_by_type() -> None:
    meter = CostMeter()
    head = node("h", "head")
    meter.observe([head], 100.0)
    meter.observe([head, node("a", "gpu_spot"), node("b", "gpu_spot")], 100.0 + HOUR)
    meter.observe([head, node("a", "gpu_spot"), node("b", "gpu_spot", alive=False)], 100 + 2 * HOUR)
    meter.observe([head, node("c", "gpu_spot")], 100.0 + 2.5 * HOUR)
    meter.observe([head, node("c", "gpu_spot")], 100.0 + 3 * HOUR)
    assert meter.use() == {
        "gpu_spot": NodeUse(num_nodes=3, hours=1.5 + 1.0 + 0.5),
        "head": NodeUse(num_nodes=1, hours=3.0),
    }
    assert meter.summary(PRICES) == (
        "cost: gpu_spot 3.00 h (3 nodes), head 3.00 h: about $1.95 (prices: prices.json)"
    )


def test_a_node_that_comes_back_counts_as_one_and_not_while_it_was_away() -> None:
    meter = CostMeter()
    for hour, alive in enumerate([True, False, False, True, True]):
        meter.observe([node("a", "gpu_spot", alive=alive)], hour * HOUR)
    assert meter.use() == {"gpu_spot": NodeUse(num_nodes=1, hours=2.0)}


@given(st.lists(st.floats(0.0, 1e4), min_size=1, max_size=20), st.integers(0, 4))
def test_observing_more_often_changes_nothing_while_the_nodes_stay(
    times: list[float], num_nodes: int
) -> None:
    nodes = [node(str(i), "gpu_spot") for i in range(num_nodes)]
    often, twice = CostMeter(), CostMeter()
    times = sorted(times)
    for now_s in times:
        often.observe(nodes, now_s)
    for now_s in (times[0], times[-1]):
        twice.observe(nodes, now_s)
    hours = num_nodes * (times[-1] - times[0]) / HOUR
    for meter in (often, twice):
        assert sum(use.hours for use in meter.use().values()) == pytest.approx(hours)


def test_types_come_from_the_group_then_the_instance_and_else_are_local() -> None:
    assert node_type(node("a", "gpu_spot")) == "gpu_spot"
    assert node_type({"Labels": {"ray.io/instance-type": "g5.2xlarge"}}) == "g5.2xlarge"
    assert node_type({"Labels": {"ray.io/node-group": ""}}) == "local"
    assert node_type({"Labels": None}) == "local"


def test_types_without_a_price_are_named_and_not_counted() -> None:
    meter = CostMeter()
    nodes = [node("a", "gpu_spot"), node("b", "train8"), node("c")]
    meter.observe(nodes, 0.0)
    assert meter.summary(PRICES).endswith("about $0.00, no price for gpu_spot (prices: x)") is False
    meter.observe(nodes, HOUR)
    assert meter.summary(PRICES) == (
        "cost: gpu_spot 1.00 h, local 1.00 h, train8 1.00 h: about $0.45, "
        "no price for local, train8 (prices: prices.json)"
    )
    none = PriceList(usd_per_hour={"other": 1.0}, source="p")
    assert meter.summary(none).endswith(
        ": unknown, no price for gpu_spot, local, train8 (prices: p)"
    )


def test_short_uses_are_in_minutes_and_nothing_seen_is_said() -> None:
    meter = CostMeter()
    assert meter.summary(PRICES) == "cost: no nodes seen: unknown (prices: prices.json)"
    meter.observe([node("a", "head")], 5.0)
    meter.observe([node("a", "head")], 95.0)
    assert meter.summary(PRICES) == "cost: head 1.5 min: about $0.01 (prices: prices.json)"


def test_a_clock_that_goes_back_is_a_mistake() -> None:
    meter = CostMeter()
    meter.observe([node("a")], 10.0)
    with pytest.raises(ValueError, match="after one at"):
        meter.observe([node("a")], 9.0)


def test_a_price_list_is_read(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text('{"head": 0, "gpu_spot": 0.45}')
    prices = load_prices(str(path))
    assert prices == PriceList(usd_per_hour={"head": 0.0, "gpu_spot": 0.45}, source=str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not valid JSON"),
        ("{'head': 1}", "is not valid JSON"),
        ('{"head": 1, "head": 2}', "'head' appears twice"),
        ("[" * 100_000, "is not valid JSON"),
        ("[1]", "must be a JSON object"),
        ("{}", "must be a JSON object"),
        ('{"head": "0.2"}', "has \"0.2\" for 'head'"),
        ('{"head": true}', "has true for 'head'"),
        ('{"head": null}', "has null for 'head'"),
        ('{"head": -1}', "has -1 for 'head'"),
        ('{"head": NaN}', "has NaN for 'head'"),
        ('{"head": 1e999}', "has Infinity for 'head'"),
        (json.dumps({"head": 10**400}), "for 'head'"),
    ],
)
def test_a_malformed_price_list_is_one_line(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_prices(str(path))
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_binary_price_list_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the price list"):
        load_prices(str(tmp_path / "none.json"))
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot read the price list"):
        load_prices(str(tmp_path / "b.json"))
