"""The jobs as users run them."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

JOBS = Path(__file__).parents[2] / "jobs"
MOST_S = 600
"""Ends a test that hangs; a busy machine gets nowhere near."""


_WITH_PAGES = ("search.py", "sweep.py", "rank.py", "study.py", "train.py")


def _without_page(job: str, args: tuple[str | Path, ...]) -> list[str]:
    """The arguments, and that no page is wanted, which takes seconds."""
    given = [str(arg) for arg in args]
    return [*given, "--no-report"] if given and job in _WITH_PAGES else given


def start(job: str, *args: str | Path, **options: Any) -> subprocess.Popen[str]:
    """Start ``python jobs/<job>`` in a session of its own; options are ``Popen``'s."""
    env = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    return subprocess.Popen(
        [sys.executable, str(JOBS / job), *_without_page(job, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**env, "RAY_AUTH_MODE": "disabled"},
        start_new_session=True,
        **options,
    )


def call(job: str, *args: str | Path) -> tuple[int, str, str]:
    """Run ``jobs/<job>`` in this process: its exit status, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", [str(JOBS / job), *_without_page(job, args)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(JOBS / job), run_name="__main__")
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


def run(job: str, *args: str | Path) -> tuple[int, str, str]:
    """Run ``python jobs/<job>``: its exit status, standard output, standard error."""
    process = start(job, *args)
    out, err = process.communicate(timeout=MOST_S)
    return process.returncode, out, err


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something to happen while a process is running."""
    deadline = time.monotonic() + MOST_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def worker_pids(driver: int, title: str = "ray::Worker") -> list[int]:
    """Processes of Ray with this title among the descendants of the driver."""
    found = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,args="], stdout=subprocess.PIPE, text=True, check=True
    )
    rows = [line.split(None, 2) for line in found.stdout.splitlines()]
    family = {driver}
    for _ in rows:
        larger = family | {int(pid) for pid, parent, _ in rows if int(parent) in family}
        if larger == family:
            break
        family = larger
    return [int(p) for p, _, args in rows if int(p) in family and args.startswith(title)]
