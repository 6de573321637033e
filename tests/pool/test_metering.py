from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from nasi_ray.pool.cost import CostMeter, PriceList
from nasi_ray.pool.metering import MeteredRunner
from nasi_ray.runner import InProcessRunner


def test_nodes_are_metered_while_samples_come_and_results_pass_through() -> None:
    now = 0.0

    def evaluate(index: int) -> int:
        nonlocal now
        now += 600.0
        return index * index

    def list_nodes() -> list[Mapping[str, Any]]:
        names = ["head"] if now < 1200 else ["head", "spot"]
        labels = {"head": "head", "spot": "gpu_spot"}
        return [
            {"NodeID": n, "Alive": True, "Labels": {"ray.io/node-group": labels[n]}} for n in names
        ]

    meter = CostMeter()
    runner = MeteredRunner(
        InProcessRunner(evaluate), meter, list_nodes=list_nodes, clock=lambda: now
    )
    assert [list(batch) for batch in runner.run(range(6))] == [[0], [1], [4], [9], [16], [25]]
    assert runner.status().num_alive == 1
    use = meter.use()
    assert use["head"].hours == pytest.approx(1.0)
    assert use["gpu_spot"].hours == pytest.approx(4 / 6)
    prices = PriceList(usd_per_hour={"head": 0.3, "gpu_spot": 0.6}, source="p.json")
    assert meter.summary(prices).endswith("about $0.70 (prices: p.json)")


def test_nodes_are_not_observed_after_a_run_that_breaks_off() -> None:
    num_observations = 0

    def list_nodes() -> list[Mapping[str, Any]]:
        nonlocal num_observations
        num_observations += 1
        return []

    def evaluate(index: int) -> int:
        raise KeyboardInterrupt

    runner = MeteredRunner(
        InProcessRunner(evaluate), CostMeter(), list_nodes=list_nodes, clock=lambda: 0.0
    )
    with pytest.raises(KeyboardInterrupt):
        list(runner.run([0]))
    assert num_observations == 1
