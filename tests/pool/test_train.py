"""How a training in Ray's workers ends; each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

MOST_S = 280.0
"""Ends a test that hangs, a moment before pytest does."""
AT_ONCE_S = 40.0
"""Far less than the time for which a stop waits for workers."""

SCRIPT = """
import os, signal, sys, time
import ray
from pathlib import Path
from nasi_ray.config import ComputeSettings
from nasi_ray.errors import NasiRayError
from nasi_ray.pool.connection import connect
from nasi_ray.pool.train import WorkerGroup, run_on_workers

class Shown:
    def update(self, state):
        pass
    def message(self, text):
        print(text, flush=True)
    def close(self):
        pass

def group_of(num_workers, threads=1, max_failures=0):
    return WorkerGroup(num_workers=num_workers, min_workers=num_workers, threads=threads, gpus=0.0,
                       labels={{}}, max_failures=max_failures, capacity_timeout_s=1800.0)

folder = Path(sys.argv[1])
# A shell that started the tests in the background has SIGINT ignored, which is inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
{body}
with connect(None, ComputeSettings(num_workers=4)):
    num_cpus = int(ray.cluster_resources()["CPU"])
{driver}
    try:
        run_on_workers(function, (folder,), group, Shown())
        print("done")
    except NasiRayError as error:
        print(f"{{type(error).__name__}}: {{error}}")
"""


def start(body: str, driver: str, folder: Path) -> subprocess.Popen[str]:
    script = SCRIPT.format(
        body=textwrap.dedent(body), driver=textwrap.indent(textwrap.dedent(driver), " " * 4)
    )
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end_of(process: subprocess.Popen[str], *, seconds: float = MOST_S) -> list[str]:
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, (out, err)
    return out.splitlines()


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    while (told := process.stdout.readline()) != f"{line}\n":
        assert told, process.communicate()[1]


WAITED = (
    "SearchStoppedError: stopped while it waited for workers; run the same command again to "
    "continue"
)


def test_a_stop_while_there_is_no_room_ends_at_once(tmp_path: Path) -> None:
    process = start(
        "def function(rank, size, link, folder): pass",
        """
        group = group_of(num_cpus + 1)
        print("begins", flush=True)
        """,
        tmp_path,
    )
    wait_for(process, "begins")
    time.sleep(8.0)  # until Ray Train asks for room
    process.send_signal(signal.SIGINT)
    assert end_of(process, seconds=AT_ONCE_S) == [WAITED]


DYING = """
def function(rank, size, link, folder):
    (folder / "begun").touch()
    while not (folder / "die").exists():
        time.sleep(0.1)
    os._exit(1)
"""
HOLDER = """
@ray.remote(num_cpus=num_cpus)
def hold(folder):
    print("no room")
    (folder / "held").touch()
    time.sleep(600)

@ray.remote(num_cpus=0)
def follow(folder):
    while not (folder / "begun").exists():
        time.sleep(0.1)
    held = hold.remote(folder)
    time.sleep(1.0)
    (folder / "die").touch()
    ray.get(held)

following = follow.remote(folder)
group = group_of(2, max_failures=5)
"""


def test_a_stop_while_dead_workers_have_no_room_ends_at_once(tmp_path: Path) -> None:
    process = start(DYING, HOLDER, tmp_path)
    until = time.monotonic() + 120
    while not (tmp_path / "held").exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    time.sleep(3.0)
    process.send_signal(signal.SIGINT)
    assert end_of(process, seconds=AT_ONCE_S) == [WAITED]


SAVING = """
def function(rank, size, link, folder):
    if rank == 0:
        link.message("trains")
    while link.check(1.0)[0] != "stop":
        time.sleep(4.0)  # a long step
    if rank == 0:
        time.sleep(8.0)
        (folder / "saved").touch()
"""


def test_a_stop_waits_until_the_workers_have_saved(tmp_path: Path) -> None:
    process = start(SAVING, "group = group_of(2)", tmp_path)
    wait_for(process, "trains")
    process.send_signal(signal.SIGINT)
    assert end_of(process) == [
        "stopping: the workers save a checkpoint",
        "SearchStoppedError: stopped; run the same command again to continue from the checkpoint",
    ]
    assert (tmp_path / "saved").exists()


LOST = """
def function(rank, size, link, folder):
    if rank == 0:
        link.message("trains")
    while link.check(1.0)[0] != "stop":
        time.sleep(0.5)
    os._exit(1)
"""


def test_workers_that_die_while_they_save_are_not_waited_for(tmp_path: Path) -> None:
    process = start(LOST, "group = group_of(2, max_failures=5)", tmp_path)
    wait_for(process, "trains")
    process.send_signal(signal.SIGINT)
    assert end_of(process, seconds=AT_ONCE_S) == [
        "stopping: the workers save a checkpoint",
        "SearchStoppedError: stopped before a checkpoint was saved; run the same command again to "
        "continue from the previous one",
    ]


BOARDLESS = """
def function(rank, size, link, folder):
    if rank == 0:
        link.message("trains")
        time.sleep(2.0)
        ray.kill(link._board)
    {then}
"""


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("pass", "done"),
        ("raise ValueError('torn')", "WorkerError: workers failed more than 0 times"),
    ],
)
def test_a_lost_board_does_not_hide_how_the_training_ended(
    tmp_path: Path, then: str, said: str
) -> None:
    process = start(BOARDLESS.format(then=then), "group = group_of(1)", tmp_path)
    (_, *told) = end_of(process)
    assert len(told) == 1
    assert told[0].startswith(said)


def test_an_elastic_training_without_room_ends_before_ray_does(tmp_path: Path) -> None:
    process = start(
        "def function(rank, size, link, folder): pass",
        """
        group = WorkerGroup(num_workers=num_cpus + 2, min_workers=num_cpus + 1, threads=1, gpus=0.0,
                            labels={}, max_failures=0, capacity_timeout_s=5.0)
        """,
        tmp_path,
    )
    (told,) = end_of(process)
    assert told.startswith("NoCapacityError: there is no room for ")
