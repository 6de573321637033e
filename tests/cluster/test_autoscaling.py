"""A real search on a real autoscaler, in namespaces of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.autoscaling_cluster import IDLE_S, ROOT, SEARCH, run_isolated, why_not_isolated

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

NUM_SAMPLES = 40


def result(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "result.json").read_text())
    return content


def test_a_search_makes_the_cluster_grow_spot_first_and_lets_it_shrink(tmp_path: Path) -> None:
    if reason := why_not_isolated():
        pytest.skip(f"no namespaces of its own: {reason}")
    events = run_isolated(tmp_path / "grown", num_samples=NUM_SAMPLES)

    assert events[0].what == "search started"
    assert not any(events[0].nodes.values())
    (end,) = [event for event in events if event.what.startswith("search ended")]
    assert end.what == "search ended with status 0"
    # Three workers with a GPU each: both spot nodes that may be had, then one of the other type.
    assert end.nodes == {"gpu_spot": 2, "gpu_ondemand": 1, "train": 0}
    assert not any(event.nodes["train"] for event in events)
    assert not any(events[-1].nodes.values())
    # The last worker may have gone idle before the search said its last word.
    assert events[-1].seconds - end.seconds > IDLE_S - 5.0

    serial = ("--num-workers", "0", "--num-samples", str(NUM_SAMPLES), "--out", str(tmp_path / "1"))
    subprocess.run(
        [sys.executable, "jobs/search.py", *SEARCH, *serial, "--device", "cpu"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    assert result(tmp_path / "grown")["alpha"] == result(tmp_path / "1")["alpha"]
