"""``python jobs/search.py`` as users run it, with real workers that are killed for real."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from nasi_ray.records import read_run
from tests.jobs import command
from tests.jobs.command import MOST_S, wait_for, worker_pids

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2 * MOST_S)]

start, run = partial(command.start, "search.py"), partial(command.run, "search.py")
FIX = ("--preset", "nasi-fix")
TINY = (
    *FIX,
    *("--batch-size", "4", "--image-size", "8", "--init-channels", "2", "--num-cells", "3"),
)
# Slow enough that something can happen while it runs.
SLOW = (
    *FIX,
    *("--batch-size", "24", "--image-size", "20", "--init-channels", "8", "--num-cells", "4"),
)
LONG = 160  # samples: several times what comes before the first are stored


def result(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "result.json").read_text())
    return content


def stored_indices(out: Path) -> list[int]:
    """Sorted; each once, though a kill may leave a part beside the one it was merged into."""
    if not (out / "identity.json").exists():
        return []
    indices: list[int] = read_run(str(out))[0].index.tolist()
    return indices


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("in_process")
    code, _, err = run(*SLOW, "--num-workers", "0", "--num-samples", "30", "--out", str(out))
    assert code == 0, err
    return out


@pytest.mark.parametrize("num_workers", ["1", "2", "4"])
def test_any_number_of_workers_gives_the_same_alpha(
    tmp_path: Path, in_process: Path, num_workers: str
) -> None:
    code, out, err = run(
        *SLOW, "--num-workers", num_workers, "--num-samples", "30", "--out", str(tmp_path)
    )
    assert code == 0, err
    assert result(tmp_path)["alpha"] == result(in_process)["alpha"]
    assert "\x1b" not in out + err
    parts = sorted((tmp_path / "samples").glob("*.parquet"))
    names = {name for part in parts for name in pq.read_table(part)["worker"].to_pylist()}
    assert len(names) == int(num_workers)


def answer(out: Path, *args: str) -> Any:
    """α of the first 30 samples, from the records alone."""
    code, _, err = run(*args, "--num-samples", "30")
    assert code == 0, err
    return result(out)["alpha"]


def test_a_worker_killed_in_mid_search_changes_nothing(tmp_path: Path, in_process: Path) -> None:
    args = (*SLOW, "--num-workers", "2", "--out", str(tmp_path))
    process = start(*args, "--num-samples", str(LONG))
    wait_for(lambda: len(stored_indices(tmp_path)) >= 4, process)
    victims = worker_pids(process.pid)
    assert victims, process.communicate()
    os.kill(victims[0], signal.SIGKILL)
    _, err = process.communicate(timeout=MOST_S)
    assert process.returncode == 0, err
    assert "1 died" in err or "1 lost" in err
    assert stored_indices(tmp_path) == list(range(LONG))
    assert answer(tmp_path, *args) == result(in_process)["alpha"]


@pytest.mark.parametrize("victim", ["raylet", "gcs_server", "the job's process"])
def test_a_local_ray_that_is_killed_is_one_line_and_worth_a_retry(
    tmp_path: Path, in_process: Path, victim: str
) -> None:
    args = (*SLOW, "--num-workers", "2", "--out", str(tmp_path))
    process = start(*args, "--num-samples", "3000")
    wait_for(lambda: len(stored_indices(tmp_path)) >= 3, process)
    family = psutil.Process(process.pid).children(recursive=True)
    named = [p for p in family if p.name() == victim]
    (named or family)[0].kill()
    out, err = process.communicate(timeout=MOST_S)
    assert (process.returncode, out) == (75, ""), err
    told = [line for line in err.splitlines() if "samples, " not in line]
    assert told[0] == "connecting to Ray"
    assert [line.startswith("error: ") for line in told[1:]] == [True], err
    assert told[1].endswith("hat is stored is kept: run the same command again to continue")
    kept = stored_indices(tmp_path)
    assert answer(tmp_path, *args) == result(in_process)["alpha"]
    assert set(kept) <= set(stored_indices(tmp_path))


@pytest.mark.parametrize("num_workers", ["0", "2"])
def test_a_driver_killed_in_mid_search_loses_seconds(
    tmp_path: Path, in_process: Path, num_workers: str
) -> None:
    args = (*SLOW, "--num-workers", num_workers, "--out", str(tmp_path))
    process = start(*args, "--num-samples", str(LONG))
    wait_for(lambda: len(stored_indices(tmp_path)) >= 3, process)
    process.kill()
    process.communicate()
    kept = stored_indices(tmp_path)
    assert len(kept) < LONG
    code, _, err = run(*args, "--num-samples", str(LONG))
    assert code == 0, err
    assert set(kept) <= set(stored_indices(tmp_path))
    assert stored_indices(tmp_path) == list(range(LONG))
    assert answer(tmp_path, *args) == result(in_process)["alpha"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_stopping_keeps_what_was_computed(
    tmp_path: Path, in_process: Path, signum: signal.Signals
) -> None:
    args = (*SLOW, "--num-workers", "2", "--num-samples", "3000", "--out", str(tmp_path))
    process = start(*args)
    wait_for(lambda: len(stored_indices(tmp_path)) >= 2, process)
    # Ctrl-C goes to the whole process group, SIGTERM to the driver; twice, as impatient people do.
    send = os.killpg if signum == signal.SIGINT else os.kill
    send(process.pid, signum)
    assert process.stderr is not None
    err = ""
    for line in process.stderr:
        err += line
        if line.startswith("stopping, "):
            send(process.pid, signum)
    process.communicate(timeout=MOST_S)
    assert process.returncode == 130
    assert "Traceback" not in err
    told = re.search(r"stopped with (\d+) of 3000 samples stored; run the same command", err)
    assert told, err
    assert int(told[1]) == len(stored_indices(tmp_path))
    code, _, err = run(*SLOW, "--num-workers", "0", "--num-samples", "30", "--out", str(tmp_path))
    assert code == 0, err
    assert result(tmp_path)["alpha"] == result(in_process)["alpha"]


def test_no_room_for_a_worker_says_what_was_asked_and_what_there_is(tmp_path: Path) -> None:
    code, out, err = run(*TINY, "--gpus-per-worker", "1", "--out", tmp_path)
    assert (code, out) == (75, "")
    connecting, line = err.splitlines()
    assert connecting == "connecting to Ray"
    assert line.startswith("error: ")
    assert "1 GPU" in line
    assert re.search(r"\d+ CPU, 0 GPU", line)


def test_closed_streams_change_nothing(tmp_path: Path, in_process: Path) -> None:
    args = (*SLOW, "--num-workers", "1", "--num-samples", "30", "--out", str(tmp_path))
    script = (sys.executable, str(command.JOBS / "search.py"))
    closed = subprocess.run(["bash", "-c", '"$@" <&- >&- 2>&-', "", *script, *args])
    assert closed.returncode == 0
    assert result(tmp_path)["alpha"] == result(in_process)["alpha"]
