"""Trainings as jobs on a real head with a token, whose node has the label of training nodes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.jobs_on_head import job, ray_job, wait_for
from tests.cluster.loopback_head import ROOT, Head, loopback_head
from tests.training.trainings import CELL, figures

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

TINY = (
    *("--recipe", "quick", "--genotype", CELL, "--init-channels", "4", "--num-cells", "3"),
    *("--num-train-images", "960", "--batch-size", "96", "--device", "cpu"),
)
ON_TRAINING_NODES = ("--label-selector", "nasi-ray/use=training", "--capacity-timeout-s", "60")


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with loopback_head(num_cpus=8, labels="nasi-ray/use=training") as head:
        yield head


def submit(head: Head, name: str, *args: str, wait: bool = True) -> int:
    """The manual's command by Ray's own."""
    package = ("--working-dir", ".", "--runtime-env", "cluster/runtime-env.json")
    options = ("--submission-id", name, *package, *(() if wait else ("--no-wait",)))
    return ray_job(head, "submit", *options, "--", "python", "jobs/train.py", *args).returncode


def result(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "result.json").read_text())
    return content


def checkpoints(out: Path) -> list[int]:
    """Steps after which there is one."""
    return sorted(int(path.stem.split("-")[1]) for path in out.glob("checkpoints/step-*.pt"))


def test_a_stopped_training_saves_and_the_next_job_goes_on(head: Head, tmp_path: Path) -> None:
    args = (*TINY, "--epochs", "30", "--num-workers", "2", *ON_TRAINING_NODES)
    place = ("--out", str(tmp_path))
    assert submit(head, "stopped", *args, *place, wait=False) == 0
    wait_for(lambda: len(checkpoints(tmp_path)) > 0)
    before = checkpoints(tmp_path)[-1]
    assert ray_job(head, "stop", "stopped").returncode == 0
    told = job(head, "stopped")
    assert told["status"] == "STOPPED", told["logs"]
    assert "stopped; run the same command again to continue from the checkpoint" in told["logs"]
    (*_, saved) = checkpoints(tmp_path)
    assert before < saved < 300
    assert not (tmp_path / "result.json").exists()
    assert submit(head, "continued", *args, *place) == 0
    told = job(head, "continued")
    assert (told["status"], told["exit_code"]) == ("SUCCEEDED", 0)
    assert "continues at epoch" in told["logs"]
    assert not re.search(r"[\x1b\r]|━|█", told["logs"])
    assert checkpoints(tmp_path)[-1] == 300
    assert len(figures(tmp_path)) == 30
    assert result(tmp_path)["top1"] > 0.2
    assert (tmp_path / "model.safetensors").stat().st_size > 1000


def test_eight_workers_train_what_one_process_trains(head: Head, tmp_path: Path) -> None:
    args = (*TINY, "--epochs", "2", "--micro-batch-size", "12")
    submitter = [sys.executable, "-m", "nasi_ray.cluster.submit", "--address", head.address]
    place = ("--num-workers", "8", *ON_TRAINING_NODES, "--out", str(tmp_path / "eight"))
    done = subprocess.run(
        [*submitter, "--run-id", "eight", "--", "train", *args, *place],
        cwd=ROOT,
        env=head.environ(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.splitlines()[-1] == "eight-1 succeeded"
    one = [sys.executable, "jobs/train.py", *args, "--num-workers", "0"]
    one += ["--out", str(tmp_path / "one")]
    subprocess.run(one, cwd=ROOT, check=True, capture_output=True)
    # The same micro-batches; their gradients are summed in another order.
    for epoch, other in zip(figures(tmp_path / "eight"), figures(tmp_path / "one"), strict=True):
        assert epoch[:3] == pytest.approx(other[:3], rel=1e-3)
