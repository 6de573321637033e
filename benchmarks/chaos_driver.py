"""The driver of the chaos benchmark: the search command, on samples that are slow and counted."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
from botocore.config import Config

from benchmarks.chaos_s3 import BUCKET
from nasi_ray.config import SampleConfig
from nasi_ray.data.fitted import FittedImages
from nasi_ray.display.progress import LogProgress
from nasi_ray.records import RecordStore
from nasi_ray.run import collect, plan, process
from nasi_ray.run.recorder import Recorder, RecorderPolicy
from nasi_ray.search import job as launch
from nasi_ray.search.series import Record, make_series_evaluator
from nasi_ray.search.settings import parse_search
from nasi_ray.storage import Storage, open_storage
from nasi_ray.storage.s3 import S3Storage

LEASE_S = 3.0
"""Lock of a dead driver, in seconds; the default of a minute would be most of a run here."""
_CLIENT = Config(
    retries={"mode": "standard", "total_max_attempts": 6}, connect_timeout=2, read_timeout=2
)
_POLICY = RecorderPolicy(part_interval_s=0.2, poll_s=0.1)
"""Many parts, so that there is something to be cut short."""
TINY = (
    *("--batch-size", "4", "--image-size", "8", "--init-channels", "2", "--num-cells", "3"),
    *("--preset", "nasi-fix", "--nu", "20"),
)


@dataclass(frozen=True)
class Ledger:
    """What the workers leave behind, line by line: who they are and what they began."""

    path: Path

    def note(self, kind: str, number: int) -> None:
        """Append a line whole, whoever else does so at the same time."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(descriptor, f"{kind} {number}\n".encode())
        finally:
            os.close(descriptor)

    def numbers(self, kind: str) -> list[int]:
        """The numbers noted under a kind, in order."""
        if not self.path.exists():
            return []
        rows = (line.split() for line in self.path.read_text().splitlines())
        return [int(number) for found, number in rows if found == kind]


def make_slow_evaluator(
    ledger: Ledger, sleep_s: float, config: SampleConfig, images: FittedImages | None, *args: object
) -> Callable[[int], Record]:
    """The real evaluator, with a pause and a note before every sample."""
    evaluate = make_series_evaluator(config, images, *args)  # type: ignore[arg-type]
    ledger.note("worker", os.getpid())

    def evaluate_slowly(index: int) -> Record:
        ledger.note("sample", index)
        time.sleep(sleep_s)
        return evaluate(index)

    return evaluate_slowly


def quick_storage(uri: str) -> Storage:
    """What ``open_storage`` gives, with a short lease and little patience on S3."""
    base = f"s3://{BUCKET}/"
    if not uri.startswith(base):
        return open_storage(uri)
    client = boto3.client("s3", config=_CLIENT)
    return S3Storage(BUCKET, uri.removeprefix(base), client, lease_s=LEASE_S)


def drive(argv: list[str], ledger: Ledger, sleep_s: float, log: Path) -> None:
    """``jobs/search.py`` with these arguments; ends the process with its exit status."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    factory = functools.partial(make_slow_evaluator, ledger, sleep_s)
    append = RecordStore.append

    def append_and_note(self: RecordStore[Any, Any], rows: Sequence[Any]) -> None:
        append(self, rows)
        ledger.note("stored", len(rows))

    with (
        mock.patch.object(RecordStore, "append", append_and_note),
        mock.patch.object(collect, "Recorder", functools.partial(Recorder, policy=_POLICY)),
        mock.patch.object(launch, "make_series_evaluator", factory),
        mock.patch.object(plan, "open_storage", quick_storage),
        process.reporting_errors(),
        process.stopping_once(),
    ):
        launch.run_search(parse_search(argv), LogProgress(sys.stderr))
    sys.exit(0)
