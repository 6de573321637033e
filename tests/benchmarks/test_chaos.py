"""The chaos benchmark, two runs of it: one on disk, one on S3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "chaos.py"


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(900)
def test_chaos_changes_no_bit_and_stores_every_sample_once(tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "AWS_"))}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--runs", "2", "--calm", "1", "--seed", "7"],
        env={**env, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (figures["runs"], figures["identical"], figures["stored_exactly_once"]) == (2, 2, 2)
    assert sum(figures["faults"].values()) >= 6
    assert figures["driver_errors"]["other"] == 0
    assert 0 <= figures["recomputed_share"] < 1
