"""Jobs on a head of ``loopback_head``, by Ray's own command and its job API."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.cluster.loopback_head import ROOT, Head


def ray_job(head: Head, *args: str) -> subprocess.CompletedProcess[str]:
    """``ray job …`` in the project's directory."""
    command = "import sys; from ray.scripts.scripts import main; sys.argv[0] = 'ray'; main()"
    return subprocess.run(
        [sys.executable, "-c", command, "job", args[0], "--address", head.address, *args[1:]],
        cwd=ROOT,
        env=head.environ(),
        capture_output=True,
        text=True,
        timeout=240,
    )


def job(head: Head, name: str) -> dict[str, Any]:
    """What the job API says of a submission, and its logs."""
    script = (
        "import json, sys; from ray.job_submission import JobSubmissionClient as C; "
        "c = C(sys.argv[1]); j = c.get_job_info(sys.argv[2]); "
        "print(json.dumps([str(j.status), j.driver_exit_code, c.get_job_logs(sys.argv[2])]))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, head.address, name],
        env=head.environ(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return dict(zip(("status", "exit_code", "logs"), json.loads(found.stdout), strict=True))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
