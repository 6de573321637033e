"""The end of a run: its files, one rule for what is said when the storage fails, and answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nasi_ray.errors import StorageError
from nasi_ray.run.identity import digest_of
from nasi_ray.storage import Storage

ANSWERS = "answers/"
"""Folder of a run that keeps each answer, by the settings it is of."""


def to_json(content: Mapping[str, Any]) -> bytes:
    """A file's content; raises where a number is not finite."""
    return json.dumps(content, indent=2, allow_nan=False).encode() + b"\n"


def write_results(storage: Storage, files: Mapping[str, bytes], *, noun: str) -> None:
    """Write what was made of the records.

    Args:
        storage: The run directory.
        files: Name -> content.
        noun: What the records are called, in the plural.

    Raises:
        StorageError: Of the kind that was met, so that the exit status says whether trying again
            helps; it adds that nothing computed is lost.
    """
    try:
        for name, data in files.items():
            storage.write(name, data)
    except StorageError as error:
        raise type(error)(
            f"{error}; the {noun} are stored, and the same command answers from them"
        ) from error


def answer_name(asked: Mapping[str, Any]) -> str:
    """The file that keeps the answer to these settings."""
    return f"{ANSWERS}{digest_of(asked)}.json"
