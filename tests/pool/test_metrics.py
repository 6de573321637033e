"""Metrics: what jobs export is what the dashboard shows."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def prometheus(scraped: str, folder: Path) -> Iterator[str]:
    """The address of a server that scrapes one node every second."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed: apt-get install prometheus")
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: ray, static_configs: [{{targets: ['{scraped}']}}]}}]\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    arguments = (
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, *arguments], stdout=log, stderr=log)
    try:
        yield address
    finally:
        process.kill()
        process.wait()


def answer_of(address: str, expression: str) -> dict[str, float]:
    """What the server says of a query now: labels -> value; nothing while it starts."""
    query = urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(f"http://{address}/api/v1/query?{query}") as answer:
            found = json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        if error.code == 400:
            raise AssertionError(f"{expression}: {error.read().decode()}") from None
        return {}
    except OSError:
        return {}
    return {json.dumps(one["metric"]): float(one["value"][1]) for one in found}


@pytest.mark.integration
def test_prometheus_answers_every_query_of_the_dashboard(tmp_path: Path) -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = {
        target["expr"].replace("$SessionName", ".*"): target["legendFormat"]
        for panel in panels
        for target in panel["targets"]
    }
    answers: dict[str, dict[str, float]] = {}
    with connect(None, ComputeSettings(num_workers=1), has_dashboard=True):
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        scraped = f"{nodes[0]['NodeManagerAddress']}:{nodes[0]['MetricsExportPort']}"
        with prometheus(scraped, tmp_path) as address:
            progress, pool = ExportedProgress(Quiet()), PoolMetrics()
            until, num = time.monotonic() + 120, 0
            # This machine has no GPU.
            wanted = {expression for expression, legend in queries.items() if legend != "GPU"}
            while time.monotonic() < until and not wanted <= answers.keys():
                num += 1
                progress.update(dataclasses.replace(STATE, mean_trace_norm=8.0))
                pool.report(samples=2 * num, requeued=num, deaths=num, live=3, target=4)
                time.sleep(1)
                found = {expression: answer_of(address, expression) for expression in queries}
                answers = {
                    expression: by_labels
                    for expression, by_labels in found.items()
                    if by_labels and max(by_labels.values()) not in (0.0, float("inf"))
                }
            labels = answer_of(address, "ray_nasi_total")
    assert wanted <= answers.keys()
    assert all('"SessionName": "session_' in text for text in labels)  # the dashboard's variable
    values = {legend: answers.get(expression, {}) for expression, legend in queries.items()}
    assert list(values["live"].values()) == [3.0]
    assert list(values["wanted"].values()) == [4.0]
    assert list(values["mean e"].values()) == [8.0]
    assert values["failed: {{unit}}"] == {'{"unit": "searches"}': 1.0}
