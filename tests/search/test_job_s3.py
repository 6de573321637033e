"""A whole search with its run directory on S3: the same as on disk, through failures too."""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest

from nasi_ray.config import ComputeSettings, EstimateConfig, SampleConfig
from nasi_ray.errors import RecordConflictError, RunLockedError, StorageError
from nasi_ray.progress import Progress
from nasi_ray.run import plan
from nasi_ray.search import job as launch
from nasi_ray.search.collect import collect
from nasi_ray.search.job import run_search
from nasi_ray.search.settings import SearchJob
from nasi_ray.storage import LOCK_NAME, LocalStorage, open_storage, s3_lease
from nasi_ray.storage.s3 import S3Storage
from tests.contracts.s3_server import BUCKET, answer_with, quick_client
from tests.toy import Quiet

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("s3")]

TINY = SampleConfig(batch_size=4, image_size=8, init_channels=2, num_cells=3)


@pytest.fixture
def out(prefix: str) -> str:
    return f"s3://{BUCKET}/{prefix}"


@pytest.fixture
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock takes a second, and waiting none."""
    clock = itertools.count()
    monkeypatch.setattr(launch, "collect", partial(collect, clock=lambda: float(next(clock))))
    monkeypatch.setattr("nasi_ray.run.recorder.time.sleep", lambda seconds: None)


def search(job: SearchJob, progress: Progress) -> dict[str, Any]:
    """The content of ``result.json``."""
    return run_search(job, progress).to_dict()


def job(out: str, num_samples: int, seed: int = 0) -> SearchJob:
    return SearchJob(
        samples=SampleConfig(batch_size=4, image_size=8, init_channels=2, num_cells=3, seed=seed),
        estimate=EstimateConfig(num_samples=num_samples),
        compute=ComputeSettings(num_workers=0),
        out=out,
    )


def fail_puts(
    monkeypatch: pytest.MonkeyPatch, when: Callable[[], bool], max_attempts: int = 1
) -> None:
    """Have S3 refuse the search's writes with 503 while ``when()`` is true."""

    def open_failing(uri: str) -> S3Storage:
        client = quick_client(max_attempts)
        answer_with(client, "PutObject", 503, "SlowDown", when=when)
        return S3Storage(BUCKET, uri.removeprefix(f"s3://{BUCKET}/"), client)

    monkeypatch.setattr(plan, "open_storage", open_failing)


def stored_indices(out: str) -> list[int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    storage = open_storage(out)
    parts = [pa.BufferReader(storage.read(name)) for name in storage.list("samples/")]
    return [index for part in parts for index in pq.read_table(part)["index"].to_pylist()]


def test_the_run_directory_is_that_of_a_search_on_disk(out: str, tmp_path: Path) -> None:
    result = search(job(out, 4), Quiet())
    on_disk = search(job(str(tmp_path), 4), Quiet())
    assert result["alpha"] == on_disk["alpha"]
    remote, local = open_storage(out), LocalStorage(tmp_path)
    names = [name for name in remote.list("") if not name.startswith("samples/")]
    assert names == [name for name in local.list("") if not name.startswith("samples/")]
    assert {"result.json", "genotype.json", "cell.svg", "cell.png"} <= set(names)
    for name in ("genotype.json", "genotype.txt", "identity.json", "cell.png"):
        assert remote.read(name) == local.read(name)
    assert json.loads(remote.read("result.json")) == result
    assert sorted(stored_indices(out)) == [0, 1, 2, 3]


def test_the_same_command_answers_and_more_samples_extend(out: str, evaluated: list[int]) -> None:
    before = search(job(out, 3), Quiet())
    evaluated.clear()
    assert search(job(out, 3), Quiet())["alpha"] == before["alpha"]
    assert evaluated == []
    search(job(out, 5), Quiet())
    assert evaluated == [3, 4]
    assert sorted(stored_indices(out)) == [0, 1, 2, 3, 4]


def test_a_second_driver_is_told_who_holds_the_run(out: str, prefix: str) -> None:
    with (
        S3Storage(BUCKET, prefix).lock(),
        pytest.raises(RunLockedError, match=rf"{out} is being written by pid \d+ on \S+ since 20"),
    ):
        search(job(out, 2), Quiet())
    assert open_storage(out).list("") == []


def test_records_of_other_settings_are_refused_by_name(out: str) -> None:
    search(job(out, 2), Quiet())
    before = open_storage(out).list("")
    with pytest.raises(RecordConflictError, match=r"seed=0; asked for seed=1"):
        search(job(out, 2, seed=1), Quiet())
    assert open_storage(out).list("") == before


def test_the_run_of_a_killed_driver_is_taken_over_when_its_lease_ends(
    out: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_lease, "_SHORTEST_S", 0.1)
    script = (
        "import time; from nasi_ray.storage.s3 import S3Storage\n"
        f"with S3Storage({BUCKET!r}, {prefix!r}, lease_s=300.0).lock():\n"
        "    print('locked', flush=True); time.sleep(60)"
    )
    driver = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    try:
        assert driver.stdout.readline() == "locked\n"
    finally:
        driver.kill()
        driver.communicate()
    with pytest.raises(RunLockedError, match=rf"pid {driver.pid} .* try again in \d+ s"):
        search(job(out, 2), Quiet())
    # As if it had asked for less: so the test waits for nothing but the end of the lease.
    client, key = boto3.client("s3"), f"{prefix}/{LOCK_NAME}"
    lease = json.loads(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    client.put_object(Bucket=BUCKET, Key=key, Body=json.dumps({**lease, "duration_s": 0.5}))
    while True:
        with contextlib.suppress(RunLockedError):
            assert search(job(out, 2), Quiet())["num_samples"] == 2
            return
        time.sleep(0.1)


@pytest.mark.usefixtures("_in_a_hurry")
def test_s3_down_in_mid_search_tells_how_many_samples_wait_and_loses_no_other(
    out: str, evaluated: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # From some sample on nothing can be written any more.
    with monkeypatch.context() as patch:
        fail_puts(patch, when=lambda: len(evaluated) > 15)
        progress = Quiet()
        with pytest.raises(StorageError) as caught:
            search(job(out, 100), progress)
    message = str(caught.value)
    assert "\n" not in message
    assert "SlowDown (HTTP 503" in message
    stored = stored_indices(out)
    waiting = len(evaluated) - len(stored)
    assert f"{waiting} evaluated samples were not stored" in message
    assert 0 < waiting < 100
    assert len(stored) >= 2
    assert any("trying again" in told for told in progress.messages)

    evaluated.clear()
    result = search(job(out, 40), Quiet())
    assert sorted(evaluated + stored) == list(range(40))
    assert sorted(stored_indices(out)) == list(range(40))
    assert result["num_samples"] == 40


@pytest.mark.usefixtures("_in_a_hurry")
def test_an_outage_shorter_than_the_patience_is_only_told(
    out: str, evaluated: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fail_puts(monkeypatch, when=lambda: 5 < len(evaluated) < 15)
    progress = Quiet()
    result = search(job(out, 30), progress)
    assert [m for m in progress.messages if "trying again" in m]
    assert evaluated == list(range(30))
    assert sorted(stored_indices(out)) == list(range(30))
    monkeypatch.undo()
    assert search(job(str(tmp_path), 30), Quiet())["alpha"] == result["alpha"]


def test_bursts_of_503_are_ridden_out_in_silence(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of three requests of a thread two are refused: the lease is renewed in a thread of its own.
    requests: Any = collections.defaultdict(itertools.count)
    mine = threading.get_ident()
    fail_puts(
        monkeypatch,
        when=lambda: next(requests[threading.get_ident()]) % 3 != 2,
        max_attempts=4,
    )
    progress = Quiet()
    search(job(out, 4), progress)
    assert progress.messages == []
    assert next(requests[mine]) > 10
    assert sorted(stored_indices(out)) == [0, 1, 2, 3]
