"""``python jobs/study.py`` as users run it, with real workers."""

from __future__ import annotations

import json
import signal
from functools import partial
from pathlib import Path

import pytest

from tests.jobs import command

pytestmark = pytest.mark.timeout(2 * command.MOST_S)

start, run = partial(command.start, "study.py"), partial(command.run, "study.py")
TINY = ("--batch-size", "4", "--image-size", "8", "--init-channels", "2", "--num-cells", "3")
SEEDS = ("--seeds", "0", "1", "--num-samples", "8")


@pytest.mark.integration
def test_stopped_continued_on_one_ray_and_replayed_without_it(
    tmp_path: Path, data_dir: Path
) -> None:
    args = ("effectiveness", *TINY, *SEEDS, "--table", str(data_dir), "--out", str(tmp_path))
    process = start(*args, "--num-workers", "1")
    parts = "runs/*seed0*/samples/*.parquet"
    command.wait_for(lambda: bool(list(tmp_path.glob(parts))), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=command.MOST_S)
    assert process.returncode == 130, err
    assert "run the same command again to continue" in err.splitlines()[-1]
    assert not list(tmp_path.glob("*.json"))

    code, out, err = run(*args, "--num-workers", "1")
    assert code == 0, err
    assert f"written to {tmp_path}: effectiveness-s1.svg" in out
    first = json.loads((tmp_path / "effectiveness-s1.json").read_text())
    assert first["command"].startswith("nasi-ray study ")
    assert {r["seed"]: r["num_samples"] for r in first["runs"]} == {0: 8, 1: 8}

    code, _, err = run(*args, "--num-workers", "1")
    assert (code, err) == (0, "")
    again = json.loads((tmp_path / "effectiveness-s1.json").read_text())
    assert again["result"] == first["result"]


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (("effectiveness", "--space", "darts"), 2, "space 'darts' has no table of accuracies"),
        (("table2", "--data", "CIFAR10"), 2, "no table was given; add --table"),
        (("agnostic", "--seeds"), 2, "no seed was given"),
        (("agnostic", "--num-workers", "0"), 2, "add --data"),
        (("tradeoff", "--table", "/no/such.parquet"), 1, "there is no table /no/such.parquet"),
    ],
)
def test_what_users_can_get_wrong_is_told_in_one_line(
    tmp_path: Path, args: tuple[str, ...], status: int, message: str
) -> None:
    code, out, err = command.call("study.py", *args, "--out", tmp_path / "out")
    assert (code, out) == (status, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
