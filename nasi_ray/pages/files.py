"""Files of a run directory, which may be torn, altered or gone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from nasi_ray.display.formats import one_line
from nasi_ray.errors import NasiRayError, RecordCorruptError
from nasi_ray.pages.blocks import Block, Note, Section
from nasi_ray.run.schemas import refuse_other_schema
from nasi_ray.storage import Storage


def read_result(storage: Storage, name: str, *known: str) -> dict[str, Any] | None:
    """A result of one of the schemas that are known; None if the file is not there.

    Raises:
        RecordCorruptError: If it cannot be read, or is of another schema.
        StorageError: If the storage fails.
    """
    content = read_json(storage, name)
    if content is not None:
        refuse_other_schema(content, f"{storage.uri}/{name}", *known)
    return content


def read_json(storage: Storage, name: str) -> dict[str, Any] | None:
    """An object in a file; None if the file is not there.

    Raises:
        RecordCorruptError: If it is not JSON, or no object.
        StorageError: If the storage fails.
    """
    try:
        content = json.loads(storage.read(name))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise RecordCorruptError(
            f"{storage.uri}/{name} cannot be read (incomplete or changed); delete it and run the "
            "command that wrote it again"
        )
    return content


def read_settings_text(storage: Storage) -> str:
    """``settings.yaml``; empty if it is not there."""
    try:
        return storage.read("settings.yaml").decode(errors="replace")
    except FileNotFoundError:
        return ""


def read_settings(storage: Storage) -> dict[str, Any]:
    """The settings of ``settings.yaml``; empty if it is not there, or no list of settings."""
    import yaml

    try:
        content = yaml.safe_load(read_settings_text(storage))
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def section(title: str, make: Callable[[], Sequence[Block]]) -> Section:
    """A section, or a line that says why it is not shown: the rest of a page does not depend on it.

    Args:
        title: Heading.
        make: Makes what is below it.
    """
    try:
        return Section(title=title, blocks=make())
    except (NasiRayError, OSError, LookupError, ValueError, TypeError) as error:
        reason = one_line(str(error)) or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"a file has no {reason}; another version may have written it"
        return Section(title=title, blocks=[Note(text=f"Not shown: {reason}.")])
