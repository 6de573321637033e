"""The benchmark of reading images for training, on few images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.data.encoded import png, write_parquet

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.integration
def test_both_ways_of_reading_are_compared(tmp_path: Path) -> None:
    images = [png(seed, 60, 70) for seed in range(140)]
    write_parquet(tmp_path / "a.parquet", images, [0, 1] * 70)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.input", "--tiny", "--pairs", "1", "--data", tmp_path],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert figures["num_images"] == 128
    assert 0.2 < figures["ratio_folder"] < 5
    small, large = figures["memory_mib"]["ours, forkserver"]
    assert large < small + 50
