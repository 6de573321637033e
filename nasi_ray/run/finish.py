"""The end of a run: its files and answers, and what it says when the storage fails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nasi_ray.errors import StorageError
from nasi_ray.run.identity import digest_of
from nasi_ray.storage import Storage

ANSWERS = "answers/"
"""Folder of a run that keeps each answer under a digest of its settings."""


def to_json(content: Mapping[str, Any]) -> bytes:
    """The content of a JSON file; raises ValueError if a number is not finite."""
    return json.dumps(content, indent=2, allow_nan=False).encode() + b"\n"


def write_results(storage: Storage, files: Mapping[str, bytes], *, label: str) -> None:
    """Write the files that follow from the records.

    Args:
        storage: The run directory.
        files: Name -> content.
        label: What the records are called, in the plural.

    Raises:
        StorageError: Of the same class as the failure, so that the exit status says whether a
            retry helps; the message adds that the records are stored.
    """
    try:
        for name, data in files.items():
            storage.write(name, data)
    except StorageError as error:
        raise type(error)(
            f"{error}; the {label} are stored: run the same command again to write the results"
        ) from error


def answer_name(asked: Mapping[str, Any]) -> str:
    """The file that keeps the answer to these settings."""
    return f"{ANSWERS}{digest_of(asked)}.json"
