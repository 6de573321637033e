"""TensorBoard's event files, whole, for any storage."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping, Sequence

EVENTS = "events.out.tfevents.nasi_ray"
"""Name of an event file; TensorBoard takes the folder that it is in for a run."""

Scalar = tuple[str, float, int, float]
"""Name, value, step, and time in seconds since 1970."""


def event_file(
    scalars: Sequence[Scalar], settings: Mapping[str, str | float] | None = None
) -> bytes:
    """The content of an event file.

    Args:
        scalars: In the order in which TensorBoard is to read them.
        settings: What its tab HParams compares runs by, beside all scalars; None: nothing.
    """
    # Not SummaryWriter: its thread writes to a disk, and waits without an end for one that is full.
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import hparams, scalar

    now = time.time()
    events = [Event(wall_time=now, file_version="brain.Event:2")]
    if settings is not None:
        metrics = dict.fromkeys([name for name, *_ in scalars], 0.0)
        summaries = hparams(dict(settings), metrics)
        events += [Event(wall_time=now, summary=summary) for summary in summaries]
    events += [
        Event(wall_time=at, step=step, summary=scalar(name, value))
        for name, value, step, at in scalars
    ]
    return b"".join(_record(event.SerializeToString()) for event in events)


def _record(data: bytes) -> bytes:
    """A record of a TFRecord file."""
    from tensorboardX.record_writer import masked_crc32c

    length = struct.pack("<Q", len(data))
    checksums = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
    return length + checksums[0] + data + checksums[1]
