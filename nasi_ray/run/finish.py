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


_MAX_NAMED = 5


def write_results(
    storage: Storage, files: Mapping[str, bytes], *, label: str, result: Any = None
) -> None:
    """Write the files that follow from the records.

    Args:
        storage: The run directory.
        files: Name -> content; the most important first.
        label: What the records are called, in the plural.
        result: What the job returns, for ``StorageError.result``.

    Raises:
        StorageError: Of the same class as the failure, so that the exit status says whether a
            retry helps; the message adds what is missing, and that the records are stored.
    """
    missing = list(files)
    try:
        for name, data in files.items():
            storage.write(name, data)
            missing.remove(name)
    except StorageError as error:
        more = f" and {len(missing) - _MAX_NAMED} more" if len(missing) > _MAX_NAMED else ""
        failure = type(error)(
            f"{error}; the {label} are stored: run the same command again to write the results "
            f"(missing: {', '.join(missing[:_MAX_NAMED])}{more})"
        )
        failure.result = result
        raise failure from error


def answer_name(asked: Mapping[str, Any]) -> str:
    """The file that keeps the answer to these settings."""
    return f"{ANSWERS}{digest_of(asked)}.json"
