"""The benchmark of a GPU, tried on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu

ROOT = Path(__file__).parents[2]
WITHOUT_RAY = """
import runpy, sys
sys.modules["ray"] = None
sys.argv = ["gpu.py", *sys.argv[1:]]
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""


def run(*args: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY, *args], capture_output=True, text=True, env=env
    )


def test_a_search_is_compared_with_itself() -> None:
    size = gpu.size_of(tiny=True)
    figures = gpu.compare_searches(size, "cpu", 3)
    assert figures["is_repeatable"]
    assert figures["alpha_difference"] == 0
    found = gpu.compare_gradients(size, "cpu")
    assert found["gradient_difference"] < 1e-3
    assert found["gradient_s"] > 0


def test_a_step_of_every_kind_that_needs_no_compiler() -> None:
    size = gpu.size_of(tiny=True)
    for name, step in gpu.STEPS.items():
        if not step.is_compiled:
            assert gpu.train(size, step, "cpu")["images_per_s"] > 0, name


@pytest.mark.integration
@pytest.mark.slow
def test_the_whole_script_runs_without_ray() -> None:
    done = run("--tiny", "--device", "cpu", "--num-samples", "3", "--threads", "1")
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert list(figures["steps"]) == list(gpu.STEPS)
    assert all(step["images_per_s"] > 0 for step in figures["steps"].values())
    assert "two searches equal bit for bit" in done.stdout


@pytest.mark.integration
def test_a_machine_without_a_gpu_is_named() -> None:
    done = run()
    assert done.returncode == 1
    assert done.stderr == "torch sees no GPU; use --device cpu --tiny to try the script\n"
