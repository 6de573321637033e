"""TensorBoard's event files, whole, for any storage."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

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
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder, write_to_disk=True) as writer:
            if settings is not None:
                metrics = dict.fromkeys([name for name, *_ in scalars], 0.0)
                for summary in hparams(dict(settings), metrics):
                    writer.file_writer.add_summary(summary)
            for name, value, step, at in scalars:
                writer.add_scalar(name, value, step, walltime=at)
        return next(Path(folder).iterdir()).read_bytes()
