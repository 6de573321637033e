"""Sweeps whose run directory is on S3, through stops and the loss of a node."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from nasi_ray.storage import Storage, open_storage
from nasi_ray.sweep.job import run_sweep
from nasi_ray.sweep.result import SweepResult
from nasi_ray.sweep.settings import make_sweep_job
from tests.contracts.cluster import STORE_BYTES
from tests.contracts.s3_server import BUCKET
from tests.jobs.command import run, start, wait_for
from tests.sweep.test_job import TINY, arguments, cells, sweep
from tests.toy import Quiet

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("s3", "blank_pictures"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Ray itself
]

LONG: dict[str, Any] = {"num_samples": 400, "seeds": [0, 1]}
"""Some seconds a search, so that something can happen meanwhile."""


def records(storage: Storage) -> set[str]:
    """Runs of which samples are stored."""
    names = storage.list("runs/")
    return {n.split("/")[1] for n in names if "/measurements/" in n and n.endswith(".parquet")}


def result_of(storage: Storage) -> SweepResult:
    content = json.loads(storage.read("sweep.json"))
    return SweepResult(content=content, uri="", searches=[], consensus=[], files=())


def test_a_sweep_on_s3_is_stopped_and_goes_on_as_on_disk(tmp_path: Path, prefix: str) -> None:
    uri = f"s3://{BUCKET}/{prefix}"
    storage = open_storage(uri)
    here = sweep(tmp_path / "here", **LONG)
    argv = [*arguments(Path("x"), num_workers=2, **LONG), "--out", uri]
    process = start("sweep.py", *argv)
    wait_for(lambda: len(records(storage)) == 2, process)
    process.terminate()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "run the same command again to continue" in err
    code, _, err = run("sweep.py", *argv)
    assert code == 0, err
    assert cells(result_of(storage)) == cells(here)
    left = {name for name in storage.list("") if not name.startswith("runs/")}
    local = (p.relative_to(tmp_path / "here") for p in (tmp_path / "here").rglob("*"))
    expected = {str(p) for p in local if (tmp_path / "here" / p).is_file()}
    assert left == {name for name in expected if not name.startswith("runs/")}
    code, _, err = run("sweep.py", *argv)
    assert code == 0
    assert "connecting" not in err


def test_a_sweep_that_loses_one_of_two_nodes_finds_the_same(
    tmp_path: Path, prefix: str, cluster: Cluster
) -> None:
    here = sweep(tmp_path / "here", **LONG)
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(2)]
    uri = f"s3://{BUCKET}/{prefix}"
    storage, lost = open_storage(uri), threading.Event()

    def lose() -> None:
        deadline = time.monotonic() + 300
        while len(records(storage)) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        if len(records(storage)) == 2 and not storage.list("sweep.json"):
            cluster.remove_node(nodes[0], allow_graceful=False)
            lost.set()

    thread = threading.Thread(target=lose, daemon=True)
    thread.start()
    job = make_sweep_job({**TINY, **LONG, "num_workers": 2, "out": uri})
    result = run_sweep(job, Quiet())
    assert lost.is_set()
    assert not result.num_failed
    assert cells(result) == cells(here)
