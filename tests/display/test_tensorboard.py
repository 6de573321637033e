"""The event files that TensorBoard reads."""

from __future__ import annotations

import struct
import tempfile
import threading
import time
from pathlib import Path

import pytest
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import hparams

from nasi_ray.display.tensorboard import Scalar, event_file

SCALARS: list[Scalar] = [
    ("loss", 1.5, 1, 1e9),
    ("top1", 70.25, 1, 1e9 + 0.5),
    ("loss", float("nan"), 2, 1e9 + 7),
]
SETTINGS: dict[str, str | float] = {"init": "ntk", "seed": 3}


def events(data: bytes) -> list[Event]:
    found = []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        parts = [data[:8], data[12 : 12 + length]]
        sums = [data[8:12], data[12 + length : 16 + length]]
        assert [masked_crc32c(part) for part in parts] == [
            int.from_bytes(s, "little") for s in sums
        ]
        found.append(Event.FromString(parts[1]))
        data = data[16 + length :]
    return found


def written(folder: Path, settings: dict[str, str | float] | None) -> list[Event]:
    """What tensorboardX itself writes."""
    with SummaryWriter(str(folder)) as writer:
        if settings is not None:
            for summary in hparams(settings, {"loss": 0.0, "top1": 0.0}):
                writer.file_writer.add_summary(summary)
        for name, value, step, at in SCALARS:
            writer.add_scalar(name, value, step, walltime=at)
    return events(next(folder.iterdir()).read_bytes())


@pytest.mark.parametrize("settings", [None, SETTINGS])
def test_the_events_are_those_of_tensorboardx(
    tmp_path: Path, settings: dict[str, str | float] | None
) -> None:
    expected, begun = written(tmp_path, settings), time.time()
    made = events(event_file(SCALARS, settings))
    assert made[0].file_version == "brain.Event:2"
    assert [event.wall_time for event in made[-3:]] == [at for *_, at in SCALARS]
    for event in made[:-3]:
        assert begun <= event.wall_time <= time.time()
    for event, other in zip(made[:-3], expected[:-3], strict=True):
        event.wall_time = other.wall_time
    assert [e.SerializeToString() for e in made] == [e.SerializeToString() for e in expected]


def test_a_file_needs_no_disk_and_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a thread")

    event_file(SCALARS)  # imports what it needs
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert len(events(event_file(SCALARS * 30))) == 91
