"""Checkpoints in a run directory: written whole or not at all, found by their names alone.

A checkpoint is a dictionary of tensors and plain values that ``torch.load`` reads with
``weights_only=True``, so that reading one runs no code.
"""

from __future__ import annotations

import io
import re
from typing import Any

import torch

from nasi_ray.errors import DataError
from nasi_ray.storage import Storage

FOLDER = "checkpoints/"
FORMAT = 1

_NAME = re.compile(rf"{FOLDER}step-(\d{{9}})\.pt")

State = dict[str, Any]


def name_of(step: int) -> str:
    """Name of the checkpoint after so many steps."""
    return f"{FOLDER}step-{step:09d}.pt"


def steps_of(storage: Storage) -> list[int]:
    """Steps after which there is a checkpoint, ascending."""
    found = (_NAME.fullmatch(name) for name in storage.list(FOLDER))
    return sorted(int(match[1]) for match in found if match)


def write(storage: Storage, step: int, state: State, *, keep: int, best: int | None) -> None:
    """Write a checkpoint, then delete older ones.

    Args:
        storage: The run directory.
        step: Steps done.
        state: What to keep; tensors and plain values.
        keep: Latest checkpoints to keep.
        best: Step of the best one, which is kept, too.

    Raises:
        StorageError: If the storage fails.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    storage.write(name_of(step), buffer.getvalue())
    older = [other for other in steps_of(storage) if other <= step]
    storage.delete(*(name_of(other) for other in older[:-keep] if other != best))


def read(data: bytes, where: str) -> State:
    """Decode a checkpoint.

    Raises:
        DataError: If it is torn, altered, or of another format.
    """
    try:
        state: State = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch each have their own
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{where} is not a checkpoint, or is incomplete ({reason}); delete it"
        ) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise DataError(
            f"{where} has another format than {FORMAT}, the one that this program reads; use the "
            "program that wrote it, or another --out"
        )
    return state


def latest(storage: Storage) -> bytes | None:
    """The checkpoint with the most steps; None if there is none.

    Raises:
        DataError: If it is torn or altered.
        StorageError: If the storage fails.
    """
    for step in reversed(steps_of(storage)):
        try:
            data = storage.read(name_of(step))
        except FileNotFoundError:
            continue  # deleted in between
        read(data, f"{storage.uri}/{name_of(step)}")
        return data
    return None
