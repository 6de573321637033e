"""A search whose disk fills up: it stops in one line, and goes on once there is space."""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from nasi_ray import command
from nasi_ray.config import ComputeSettings, EstimateConfig, SampleConfig
from nasi_ray.errors import StorageError
from nasi_ray.progress import Progress
from nasi_ray.search import job as launch
from nasi_ray.search.collect import collect
from nasi_ray.search.job import run_search
from nasi_ray.search.settings import SearchJob
from nasi_ray.storage import LocalStorage
from tests.toy import Quiet

# Runs many jobs.
pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("blank_pictures")]

NUM_SAMPLES = 12

FullWhile = Callable[[Callable[[], bool]], AbstractContextManager[None]]
"""Makes a context in which the disk is full from the moment a condition holds."""


@pytest.fixture(params=["a small file system", "simulated"])
def disk(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, FullWhile]]:
    if request.param == "simulated":
        yield tmp_path, partial(_refusing_writes, monkeypatch)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("mounting a small file system takes root and CAP_SYS_ADMIN")
    try:
        yield tmp_path / "run", partial(_filling_up, monkeypatch, tmp_path / "ballast")
    finally:
        # Lazily: pyarrow's threads may still be closing a file.
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@contextmanager
def _refusing_writes(
    monkeypatch: pytest.MonkeyPatch, is_full: Callable[[], bool]
) -> Iterator[None]:
    write = os.write

    def refuse(descriptor: int, data: bytes) -> int:
        if is_full():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        yield


@contextmanager
def _filling_up(
    monkeypatch: pytest.MonkeyPatch, ballast: Path, is_full: Callable[[], bool]
) -> Iterator[None]:
    """Somebody else takes all the space that is left before each write."""
    write = os.write

    def fill(descriptor: int, data: bytes) -> int:
        if is_full():
            with suppress(OSError), ballast.open("ab", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fill)
        yield
    ballast.unlink()


def search(job: SearchJob, progress: Progress) -> dict[str, Any]:
    """The content of ``result.json``."""
    return run_search(job, progress).to_dict()


def job(out: Path) -> SearchJob:
    return SearchJob(
        samples=SampleConfig(
            space="nb201", batch_size=4, image_size=8, init_channels=2, num_cells=3
        ),
        estimate=EstimateConfig(num_samples=NUM_SAMPLES),
        compute=ComputeSettings(num_workers=0),
        out=str(out),
    )


def stored_indices(out: Path) -> list[int]:
    parts = sorted((out / "samples").glob("*.parquet"))
    return [i for part in parts for i in pq.read_table(part)["index"].to_pylist()]


def test_a_full_disk_stops_the_search_and_the_same_command_goes_on(
    disk: tuple[Path, FullWhile], evaluated: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, full_while = disk
    clock = itertools.count()
    monkeypatch.setattr(launch, "collect", partial(collect, clock=lambda: float(next(clock))))
    monkeypatch.setattr("nasi_ray.run.recorder.time.sleep", lambda seconds: None)

    def is_full() -> bool:
        return len(evaluated) > 5 and bool(stored_indices(out))

    with full_while(is_full), pytest.raises(StorageError) as caught:
        search(job(out), Quiet())
    message = str(caught.value)
    assert "\n" not in message
    assert f"{out}/samples/" in message
    assert "No space left on device; free some space there" in message
    stored = stored_indices(out)
    assert stored
    assert f"{len(evaluated) - len(stored)} evaluated samples were not stored" in message
    assert not [name for name in os.listdir(out / "samples") if name.startswith(".")]

    evaluated.clear()
    result = search(job(out), Quiet())
    assert result["num_samples"] == NUM_SAMPLES
    assert sorted(stored + evaluated) == list(range(NUM_SAMPLES))
    assert sorted(stored_indices(out)) == list(range(NUM_SAMPLES))


SIZES = ("--space", "nb201", "--batch-size", "2", "--image-size", "8", "--num-workers", "0")
SEARCH = (*SIZES, "--init-channels", "2", "--num-cells", "3", "--num-samples", "2", "--no-report")
TRAIN = (
    *("--recipe", "quick", "--space", "nb201", "--num-cells", "3", "--init-channels", "4"),
    *("--architecture", "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|none~0|none~1|skip_connect~2|"),
    *("--num-train-images", "64", "--batch-size", "32", "--epochs", "1", "--num-workers", "0"),
    *("--device", "cpu", "--no-report"),
)
RANK = (*SIZES, "--architectures", "2", "--proxies", "synflow", "--num-channels", "2")


@pytest.mark.parametrize(
    ("argv", "full_from", "missing", "answer"),
    [
        (("search", *SEARCH), "result.json", "result.json, settings.yaml", "nb201: the archit"),
        (("search", *SEARCH), "cell.svg", "cell.svg, cell.png, front.svg, front.png", "nb201: "),
        (("search", *SEARCH), "front.png", "front.png", "nb201: the architecture below"),
        (("sweep", *SEARCH, "--seeds", "0", "1"), "sweep.json", "sweep.json, answers", "seed "),
        (("rank", *RANK), "scores.csv", "scores.csv, ranking.md", "nb201: 2 of 15625 archit"),
        (
            ("train", *TRAIN),
            "model.safetensors",
            "model.safetensors, model.json",
            "nb201 cell, C=4",
        ),
        (("train", *TRAIN), "result.json", "result.json", "nb201 cell, C=4"),
    ],
)
def test_files_that_do_not_fit_leave_the_answer_to_be_printed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: tuple[str, ...],
    full_from: str,
    missing: str,
    answer: str,
) -> None:
    write = LocalStorage.write

    def full(self: LocalStorage, name: str, data: bytes) -> None:
        if name == full_from and self.uri == str(tmp_path):
            raise StorageError("the disk is full; free some space there")
        write(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "write", full)
        with pytest.raises(SystemExit) as ended:
            command.main([*argv, "--out", str(tmp_path)])
    assert ended.value.code == 75
    out, err = capsys.readouterr()
    assert out.startswith(answer)
    assert "written to" not in out
    assert "nasi_ray.load_model" not in out
    error = err.splitlines()[-1]
    assert error.startswith("error: the disk is full; free some space there; the ")
    assert f"s are stored: run the same command again to write the results (missing: {missing}" in (
        error
    )
    assert command.main([*argv, "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith(answer)
