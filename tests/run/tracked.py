"""What Weights & Biases and MLflow were sent, by their own files."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


def use_offline(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let both services write into a folder, and nothing leave this machine."""
    import wandb

    # It reads its variables once.
    wandb.teardown()
    folder.mkdir(parents=True, exist_ok=True)
    patch.setenv("WANDB_MODE", "offline")
    patch.setenv("WANDB_DIR", str(folder))
    patch.setenv("WANDB_ERROR_REPORTING", "false")
    patch.setenv("MLFLOW_TRACKING_URI", f"file:{folder}/mlruns")
    patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@dataclass
class Sent:
    """A run as a service has it."""

    project: str
    name: str
    group: str
    settings: dict[str, Any] = field(default_factory=dict)
    points: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    is_done: bool = False

    @property
    def steps(self) -> list[int]:
        """In the order in which they were sent."""
        return [step for step, _ in self.points]


def mlflow_runs(project: str = "nasi_ray") -> list[Sent]:
    """All runs of an experiment, by name."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name(project)
    assert experiment is not None
    found = []
    for run in client.search_runs([experiment.experiment_id]):
        one = Sent(project, str(run.info.run_name), run.data.tags.get("group", ""))
        one.settings = dict(run.data.params)
        one.is_done = run.info.status == "FINISHED"
        one.summary = {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")}
        by_step: dict[int, dict[str, float]] = {}
        for name in run.data.metrics:
            for metric in client.get_metric_history(run.info.run_id, name):
                if metric.step == 0:
                    one.summary[name] = metric.value
                else:
                    assert name not in by_step.setdefault(metric.step, {}), "sent twice"
                    by_step[metric.step][name] = metric.value
        one.points = sorted(by_step.items())
        found.append(one)
    return sorted(found, key=lambda one: one.name)


def wandb_runs(folder: Path) -> dict[str, Sent]:
    """All offline runs by id; a run that was resumed has a file for each time.

    W&B's own process may still write when a run has been finished: waits for the end of each file.
    """
    deadline = time.monotonic() + 60.0
    while True:
        found, are_whole = _wandb_runs(folder)
        if are_whole or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def _wandb_runs(folder: Path) -> tuple[dict[str, Sent], bool]:
    """The runs, and whether every file has its last record."""
    from wandb.proto import wandb_internal_pb2 as records

    found: dict[str, Sent] = {}
    num_open = 0
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda p: p.stat().st_ctime):
        one: Sent | None = None
        num_open += 1
        for data in _log_records(path.read_bytes()):
            record = records.Record()  # type: ignore[attr-defined,unused-ignore]
            record.ParseFromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                run = record.run
                one = found.setdefault(
                    run.run_id, Sent(run.project, run.display_name, run.run_group)
                )
                one.settings |= {c.key: json.loads(c.value_json) for c in run.config.update}
            elif kind == "history":
                assert one is not None
                row = {"".join(i.nested_key) or i.key: json.loads(i.value_json)
                       for i in record.history.item}  # fmt: skip
                named = {k: v for k, v in row.items() if not k.startswith("_")}
                one.points.append((row["_step"], named))
            elif kind == "summary":
                assert one is not None
                one.summary |= {"".join(i.nested_key) or i.key: json.loads(i.value_json)
                                for i in record.summary.update}  # fmt: skip
            elif kind == "exit":
                assert one is not None
                one.is_done = record.exit.exit_code == 0
                num_open -= 1
    return found, num_open == 0


def _log_records(data: bytes) -> Iterator[bytes]:
    """The records of W&B's file: LevelDB's log format after 7 bytes."""
    at, whole = 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        if at + 7 + length > len(data):  # it is being written
            return
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield whole
            whole = b""
