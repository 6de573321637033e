"""Real jobs on a real autoscaler, in namespaces of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.cluster.autoscaling_cluster import (
    IDLE_S,
    ROOT,
    SEARCH,
    run_isolated,
    search_args,
    why_not_isolated,
)
from tests.training.trainings import CELL, figures

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

NUM_SAMPLES = 40


def result(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "result.json").read_text())
    return content


def test_a_search_makes_the_cluster_grow_spot_first_and_lets_it_shrink(tmp_path: Path) -> None:
    if reason := why_not_isolated():
        pytest.skip(f"no namespaces of its own: {reason}")
    events = run_isolated(search_args(tmp_path / "grown", NUM_SAMPLES))

    assert events[0].what == "job started"
    assert not any(events[0].nodes.values())
    (end,) = [event for event in events if event.what.startswith("job ended")]
    assert end.what == "job ended with status 0"
    # Three workers with a GPU each: both spot nodes that may be had, then one of the other type.
    assert end.nodes == {"gpu_spot": 2, "gpu_ondemand": 1, "train": 0}
    assert not any(event.nodes["train"] for event in events)
    assert not any(events[-1].nodes.values())
    # Not by when the search ended: what it writes at its end takes long on a slow machine.
    parts = [pq.read_table(path) for path in (tmp_path / "grown" / "samples").iterdir()]
    last = max(max(part["ended"].to_pylist()) for part in parts)
    assert events[-1].unix_s - last > IDLE_S - 1.0

    serial = ("--num-workers", "0", "--num-samples", str(NUM_SAMPLES), "--out", str(tmp_path / "1"))
    subprocess.run(
        [sys.executable, "jobs/search.py", *SEARCH, *serial, "--device", "cpu"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    assert result(tmp_path / "grown")["alpha"] == result(tmp_path / "1")["alpha"]


def test_a_preempted_training_gets_another_machine_and_goes_on(tmp_path: Path) -> None:
    if reason := why_not_isolated():
        pytest.skip(f"no namespaces of its own: {reason}")
    out = tmp_path / "run"
    network = ("--genotype", CELL, "--init-channels", "4", "--num-cells", "3")
    images = ("--num-train-images", "960", "--batch-size", "96", "--epochs", "40")
    workers = ("--num-workers", "3", "--device", "cpu", "--label-selector", "nasi-ray/use=training")
    # No failure is allowed: the loss of a node that was announced is none.
    place = ("--max-failures", "0", "--out", str(out))
    events = run_isolated(
        ["train", "--recipe", "quick", *network, *images, *workers, *place],
        preempt_after=out / "checkpoints" / "step-000000020.pt",
    )
    whats = [event.what for event in events]
    lost = whats.index("node lost")
    (ended,) = (i for i, what in enumerate(whats) if what.startswith("job ended"))
    assert whats[ended] == "job ended with status 0"
    assert events[lost - 1].nodes["train"] == 1
    (begun_again,) = (what for what in whats if what.startswith("continues at"))
    assert int(begun_again.split()[-1]) > 2
    for event in events:
        assert event.nodes["gpu_spot"] == event.nodes["gpu_ondemand"] == 0
    assert len(figures(out)) == 40
    assert result(out)["epochs"] == 40
