"""Metrics: what jobs export is what the dashboard shows."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import ray

from nasi_ray.config import ComputeSettings
from nasi_ray.pool import metrics
from nasi_ray.pool.connection import connect
from nasi_ray.pool.metrics import COUNTERS, GAUGES, STATES, ExportedProgress, PoolMetrics
from nasi_ray.progress import ProgressState
from tests.toy import Quiet

DASHBOARD = Path(__file__).parents[2] / "cluster" / "grafana-dashboard.json"
STATE = ProgressState(num_done=3, num_total=7, num_failed=1, per_second=2.5, unit="searches")


def exported() -> set[str]:
    """Names as Prometheus has them."""
    return {f"ray_{n}_total" for n in COUNTERS} | {f"ray_{n}" for n in (*GAUGES, *STATES)}


def test_the_dashboard_shows_what_is_exported_and_nothing_else() -> None:
    content = json.loads(DASHBOARD.read_text())
    shown = {
        name
        for panel in content["panels"]
        for target in panel["targets"]
        for name in re.findall(r"ray_nasi_\w+", target["expr"])
    }
    assert shown == exported()
    assert len({panel["id"] for panel in content["panels"]}) == len(content["panels"])


def test_a_display_goes_on_without_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no agent")

    monkeypatch.setattr(metrics, "Gauge", broken)
    monkeypatch.setattr(metrics, "Counter", broken)
    shown = Quiet()
    progress = ExportedProgress(shown)
    progress.update(STATE)
    progress.message("a line")
    progress.close()
    assert (shown.states, shown.messages) == ([STATE], ["a line"])
    PoolMetrics().report(samples=1, requeued=0, deaths=0, live=1, target=1)


@pytest.mark.integration
def test_ray_serves_the_metrics() -> None:
    with connect(None, ComputeSettings(num_workers=1), has_dashboard=True):
        ExportedProgress(Quiet()).update(STATE)
        PoolMetrics().report(samples=5, requeued=1, deaths=2, live=3, target=4)
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        url = f"http://{nodes[0]['NodeManagerAddress']}:{nodes[0]['MetricsExportPort']}/metrics"
        until = time.monotonic() + 120
        wanted = exported() - {"ray_nasi_mean_trace_norm"}
        found: dict[str, float] = {}
        while time.monotonic() < until and not wanted <= set(found):
            time.sleep(1)
            with urllib.request.urlopen(url) as answer:
                text = answer.read().decode()
            found = {
                name: float(value)
                for name, value in re.findall(r"^(ray_nasi_\w+)\{.*\} (\S+)$", text, re.MULTILINE)
            }
    assert found["ray_nasi_done"] == 3
    assert found["ray_nasi_per_second"] == 2.5
    assert found["ray_nasi_samples_total"] == 5
    assert wanted <= set(found)
