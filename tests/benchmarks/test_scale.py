"""The scale benchmark on few samples, and its simulated workers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import scale
from benchmarks.scale import SimulatedRunner, measure

SCRIPT = Path(scale.__file__)


@pytest.mark.parametrize("num_workers", [1, 10, 100])
def test_simulated_workers_take_exactly_their_time(num_workers: int) -> None:
    runner = SimulatedRunner(num_workers, 0.05)
    indices = [sample.index for batch in runner.run(range(1000)) for sample in batch]
    assert sorted(indices) == list(range(1000))
    ideal = 1000 * 0.05 / num_workers
    assert ideal - 1e-6 <= runner.now < 1.5 * ideal + 1.0


def test_a_case_is_measured_with_every_record_written() -> None:
    case = measure(10, 0.05, 500)
    assert 0 < case["cpu_us_per_sample"] < 5_000
    assert case["num_parts"] >= 1
    assert case["rss_answered_mib"] >= case["rss_before_mib"]


@pytest.mark.integration
@pytest.mark.slow
def test_the_table_ends_with_one_json_line() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--num-samples", "2000", "--num-each", "500"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert len(figures["cases"]) == 8
    assert figures["saturates_at_workers"]["1.0"] > figures["saturates_at_workers"]["0.05"] > 1
