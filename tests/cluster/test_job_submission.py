"""Jobs on a real head with a token; its Python does not have the project installed."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from tests.cluster.jobs_on_head import job, ray_job, wait_for
from tests.cluster.loopback_head import ROOT, Head, loopback_head

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

# Slow enough that something can happen while it runs.
SLOW = (
    *("--preset", "nasi-fix"),
    *("--batch-size", "24", "--image-size", "20", "--init-channels", "8", "--num-cells", "4"),
)
SEARCH = (*SLOW, "--num-samples", "24")
SLOW_TO_STOP = """
import pathlib, signal, sys, time

def write(*_):
    time.sleep(8)
    pathlib.Path(sys.argv[2]).touch()
    sys.exit()

signal.signal(signal.SIGTERM, write)
pathlib.Path(sys.argv[1]).touch()
signal.pause()
"""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with loopback_head() as head:
        yield head


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return search_in_process(tmp_path_factory.mktemp("in_process"), *SEARCH)


def search_in_process(out: Path, *args: str) -> dict[str, Any]:
    """The result of the same search without Ray."""
    command = [sys.executable, "jobs/search.py", *args, "--num-workers", "0", "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return result(out)


def result(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "result.json").read_text())
    return content


def num_stored(out: Path) -> int:
    parts = (out / "samples").glob("*.parquet")
    return len({i for part in parts for i in pq.read_table(part)["index"].to_pylist()})


def submit(head: Head, name: str, *args: str, wait: bool = True) -> int:
    """The command of the manual."""
    package = ("--working-dir", ".", "--runtime-env", "cluster/runtime-env.json")
    options = ("--submission-id", name, *package, *(() if wait else ("--no-wait",)))
    return ray_job(head, "submit", *options, "--", "python", "jobs/search.py", *args).returncode


def submitter(head: Head, run_id: str, *args: str) -> list[str]:
    options = ("--address", head.address, "--run-id", run_id)
    return [sys.executable, "-m", "nasi_ray.cluster.submit", *options, "--", "search", *args]


def start_submitter(head: Head, run_id: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        submitter(head, run_id, *args),
        cwd=ROOT,
        env=head.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def drivers(out: Path) -> list[int]:
    """Processes of the search that writes to ``out`` (not the shell round it, nor a submitter)."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(out) in (line := process.info["cmdline"] or [])
        and (line[1:2] == ["jobs/search.py"] or line[1:4] == ["-m", "nasi_ray", "search"])
    ]


def test_the_head_listens_on_loopback_only(head: Head) -> None:
    family = [psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)]
    hosts = {
        ipaddress.ip_address(connection.laddr.ip.removeprefix("::ffff:"))
        for process in family
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert hosts
    assert all(host.is_loopback for host in hosts), hosts


def test_a_job_runs_the_code_it_brings_and_leaves_its_result(
    head: Head, tmp_path: Path, in_process: dict[str, Any]
) -> None:
    own = subprocess.run(
        [head.python, "-c", "import nasi_ray"],
        cwd=head.home,
        env=head.environ(),
        capture_output=True,
    )
    assert b"No module named 'nasi_ray'" in own.stderr
    assert submit(head, "plain", *SEARCH, "--num-workers", "2", "--out", str(tmp_path)) == 0
    told = job(head, "plain")
    assert (told["status"], told["exit_code"]) == ("SUCCEEDED", 0)
    assert result(tmp_path)["alpha"] == in_process["alpha"]
    assert "24/24 samples" in told["logs"]
    assert "2 workers" in told["logs"]
    assert not re.search(r"[\x1b\r]|━|█", told["logs"])
    assert not (head.home / ".ray").exists()


def test_the_package_holds_the_code_of_the_jobs_and_nothing_else(head: Head) -> None:
    if not (head.session_dir / "runtime_resources" / "working_dir_files").exists():
        submit(head, "first", "--help")
    packages = head.session_dir / "runtime_resources" / "working_dir_files"
    (package,) = [path for path in packages.iterdir() if path.is_dir()]
    assert sorted(path.name for path in package.iterdir()) == ["jobs", "nasi_ray"]
    files = [path for path in package.rglob("*") if path.is_file()]
    brought = {path.relative_to(package).as_posix() for path in files if path.suffix != ".pyc"}
    tracked = subprocess.run(
        ["git", "ls-files", "jobs", "nasi_ray"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert set(tracked.stdout.split()) <= brought
    assert sum(path.stat().st_size for path in files if path.suffix != ".pyc") < 2**21


def test_the_shipped_runtime_env_installs_nothing_and_gives_a_stopped_job_a_minute() -> None:
    shipped = json.loads((ROOT / "cluster" / "runtime-env.json").read_text())
    assert not {"pip", "uv", "conda", "container", "image_uri", "py_modules"} & set(shipped)
    assert int(shipped["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) >= 60


def test_a_search_that_cannot_work_fails_with_one_line(head: Head) -> None:
    assert submit(head, "unknown", "--space", "cifar") == 1
    told = job(head, "unknown")
    assert (told["status"], told["exit_code"]) == ("FAILED", 2)
    # Before it stand two lines of Ray's.
    assert told["logs"].splitlines()[2:] == [
        "error: unknown space 'cifar'; choose one of darts, nb201, s1, s2, s3"
    ]


@pytest.mark.slow
def test_a_stopped_job_stores_what_it_has_and_the_next_one_goes_on(
    head: Head, tmp_path: Path, in_process: dict[str, Any]
) -> None:
    place = ("--num-workers", "2", "--out", str(tmp_path))
    assert submit(head, "long", *SLOW, "--num-samples", "3000", *place, wait=False) == 0
    wait_for(lambda: num_stored(tmp_path) >= 2)
    assert ray_job(head, "stop", "long").returncode == 0
    told = job(head, "long")
    assert told["status"] == "STOPPED"
    said = re.search(r"stopped with (\d+) of 3000 samples stored", told["logs"])
    assert said, told["logs"]
    assert int(said[1]) == num_stored(tmp_path) >= 2
    assert not drivers(tmp_path)
    assert submit(head, "long-again", *SEARCH, *place) == 0
    assert result(tmp_path)["alpha"] == in_process["alpha"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "is_written"),
    [
        ("patient", ("--runtime-env", "cluster/runtime-env.json"), True),
        ("hasty", (), False),
    ],
)
def test_the_shipped_runtime_env_gives_a_stopped_job_time_to_write(
    head: Head, tmp_path: Path, name: str, options: tuple[str, ...], is_written: bool
) -> None:
    script, begun, written = (tmp_path / part for part in ("script.py", "begun", "written"))
    script.write_text(SLOW_TO_STOP)
    entrypoint = ("--", "python", str(script), str(begun), str(written))
    submitted = ray_job(head, "submit", "--submission-id", name, "--no-wait", *options, *entrypoint)
    assert submitted.returncode == 0, submitted.stderr
    wait_for(begun.exists)
    assert ray_job(head, "stop", name).returncode == 0
    assert job(head, name)["status"] == "STOPPED"
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if str(script) in command]
    assert written.exists() is is_written


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_submitter_joins_its_run_and_replaces_a_lost_driver(head: Head, tmp_path: Path) -> None:
    # Parts are stored every five seconds: after the first one there must be much left to do.
    out_dir = tmp_path / "run"
    args = (*SLOW, "--num-samples", "600", "--num-workers", "2", "--out", str(out_dir))
    first = start_submitter(head, "seen", *args)
    wait_for(lambda: num_stored(out_dir) >= 1)
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=200)
    assert first.returncode == 130, err
    told = "seen-1 keeps running. Run the same command to follow it again; to stop it: "
    assert f"{told}ray job stop seen-1 " in err
    second = start_submitter(head, "seen", *args)
    assert second.stderr is not None
    assert second.stderr.readline() == "seen-1 is running; following it\n"
    running = drivers(out_dir)
    # The one that supervises; its child, which holds the run, goes with it.
    (driver,) = [pid for pid in running if psutil.Process(pid).ppid() not in running]
    os.kill(driver, signal.SIGKILL)
    out, err = second.communicate(timeout=400)
    assert second.returncode == 0, err
    assert err.splitlines() == [
        "seen-1 was lost: exit status 137",
        "next attempt in 5 s",
        "submitted seen-2",
        "seen-2 succeeded",
    ]
    assert out.count("Running entrypoint for job") == 2
    assert "\x1b" not in out
    assert job(head, "seen-2")["status"] == "SUCCEEDED"
    assert (num_stored(out_dir), result(out_dir)["num_samples"]) == (600, 600)
    expected = search_in_process(tmp_path / "in_process", *SLOW, "--num-samples", "100")
    # Answered from the records.
    found = search_in_process(out_dir, *SLOW, "--num-samples", "100")
    assert found["alpha"] == expected["alpha"]


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"RAY_AUTH_TOKEN": "", "RAY_AUTH_MODE": ""}, "no token was given"),
        ({"RAY_AUTH_TOKEN": "0" * 64}, "the token is not the cluster's"),
    ],
)
def test_without_the_clusters_token_one_line_says_what_to_set(
    head: Head, environ: dict[str, str], reason: str
) -> None:
    refused = subprocess.run(
        submitter(head, "x", "--out", "/nowhere"),
        cwd=ROOT,
        env={k: v for k, v in head.environ(**environ).items() if v},
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 1
    assert refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"error: {head.address} refused: {reason}; set RAY_AUTH_TOKEN")
