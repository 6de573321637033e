"""Trainings as users run them: on Ray, killed, stopped, continued."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.jobs.command import run, start, wait_for, worker_pids
from tests.training.trainings import CELL, TRAINED, figures, final_state, is_equal

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

ARGS = (
    "--genotype", CELL, "--init-channels", "6", "--num-cells", "5", "--epochs", "6",
    "--num-train-images", "1440", "--micro-batch-size", "48", "--checkpoint-steps", "4",
    "--drop-path", "0.2", "--dist-bn", "reduce", "--ema-decay", "0.9",
)  # fmt: skip
"""15 steps an epoch, of 96 images."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained by two workers, one after the other epoch, without any fault."""
    out = tmp_path_factory.mktemp("undisturbed")
    code, text, err = run("train.py", *ARGS, "--num-workers", "2", "--out", out)
    assert code == 0, err
    assert text.startswith("darts cell, C=6, 5 cells")
    return out


def begin(out: Path, num_workers: int = 2) -> subprocess.Popen[str]:
    """Start a training, and wait until it has a checkpoint within the second epoch."""
    process = start("train.py", *ARGS, "--num-workers", str(num_workers), "--out", str(out))
    wait_for(lambda: any(out.glob("checkpoints/step-00000002*")), process)
    return process


def assert_same(out: Path, other: Path) -> None:
    assert figures(out) == figures(other)
    one, two = final_state(out), final_state(other)
    assert {name: is_equal(one[name], two[name]) for name in TRAINED} == dict.fromkeys(
        TRAINED, True
    )
    assert (out / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def test_a_killed_worker_changes_nothing(tmp_path: Path, undisturbed: Path) -> None:
    process = begin(tmp_path)
    killed = worker_pids(process.pid, "ray::RayTrainWorker")
    os.kill(killed[-1], signal.SIGKILL)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert len(killed) == 2
    assert "continues at epoch" in err
    assert_same(tmp_path, undisturbed)


def test_a_killed_driver_changes_nothing(tmp_path: Path, undisturbed: Path) -> None:
    process = begin(tmp_path)
    process.kill()
    process.communicate()
    code, _, err = run("train.py", *ARGS, "--num-workers", "2", "--out", tmp_path)
    assert code == 0, err
    assert "continues at epoch" in err
    assert_same(tmp_path, undisturbed)


def test_a_stopped_training_saves_and_continues(tmp_path: Path, undisturbed: Path) -> None:
    process = begin(tmp_path)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "stopped; run the same command again to continue from the checkpoint" in err
    code, _, err = run("train.py", *ARGS, "--num-workers", "2", "--out", tmp_path)
    assert code == 0, err
    assert "continues at epoch" in err
    assert_same(tmp_path, undisturbed)


def test_from_two_workers_to_one(tmp_path: Path, undisturbed: Path) -> None:
    process = begin(tmp_path)
    process.kill()
    process.communicate()
    code, _, err = run("train.py", *ARGS, "--num-workers", "0", "--out", tmp_path)
    assert code == 0, err
    assert "continues at epoch" in err
    # The same images in the same micro-batches; sums are rounded in another order, and the running
    # statistics of batch norm see two micro-batches in turn, not their mean.
    for one, other in zip(figures(tmp_path), figures(undisturbed), strict=True):
        assert one[2] == pytest.approx(other[2], rel=1e-3)


def test_a_signal_saves_after_the_step_without_ray(tmp_path: Path) -> None:
    out, whole = tmp_path / "run", tmp_path / "whole"
    args = (*ARGS, "--num-workers", "0", "--checkpoint-steps", "0")
    process = start("train.py", *args, "--out", str(out))
    wait_for(lambda: any(out.glob("checkpoints/step-000000015*")), process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    assert "stopping: saving a checkpoint" in err
    code, _, err = run("train.py", *args, "--out", out)
    assert code == 0, err
    code, _, err = run("train.py", *args, "--out", whole)
    assert code == 0, err
    assert_same(out, whole)


def test_an_error_that_comes_back_ends_a_run_on_ray_in_one_line(tmp_path: Path) -> None:
    args = (*ARGS, "--num-workers", "2", "--lr", "1e30", "--clip-grad", "0", "--out", tmp_path)
    code, out, err = run("train.py", *args)
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("error: the loss is ")
    assert "start again with another --out and a lower --lr" in last
    assert "Traceback" not in err
