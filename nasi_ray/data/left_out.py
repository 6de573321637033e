"""The files below a folder, without hidden and housekeeping ones, and what was left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from nasi_ray.data.s3_path import DataPath, S3Path

_HOUSEKEEPING = {"thumbs.db", "desktop.ini", "lost+found", "@eadir", "$recycle.bin"}
_MAX_NAMED = 5

PathT = TypeVar("PathT", bound=DataPath)

Identity = tuple[int, int] | str
"""What tells one folder from another, however it is reached."""


def is_housekeeping(name: str) -> bool:
    """Whether a file or folder is hidden, or made by a system and not by the user."""
    return name.startswith((".", "__")) or name.lower() in _HOUSEKEEPING


def kind(path: DataPath) -> str:
    """What ``describe`` counts a file or folder under."""
    if path.is_dir() or (is_housekeeping(path.name) and not path.suffix):
        return path.name
    if is_housekeeping(path.name):
        return f"hidden {path.suffix.lower()}"
    return path.suffix.lower() or "files without a suffix"


def count(number: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def describe(left_out: Iterable[str]) -> str:
    """``left out: 3 .txt, 1 .heic``; empty if nothing was.

    Args:
        left_out: The kind of each.
    """
    counts = sorted(Counter(left_out).items(), key=lambda item: (-item[1], item[0]))
    named = [f"{number} {name}" for name, number in counts[:_MAX_NAMED]]
    if len(counts) > _MAX_NAMED:
        named.append(f"{sum(number for _, number in counts[_MAX_NAMED:])} of other kinds")
    return f"left out: {', '.join(named)}" if named else ""


def _raise(error: OSError) -> None:
    raise error


def walk(
    folder: PathT,
    *,
    others: Collection[Identity] = (),
    on_error: Callable[[OSError], None] | None = _raise,
) -> tuple[list[PathT], list[str]]:
    """The files at any depth, sorted, and the kind of each thing left out.

    Links to folders are followed, and no folder is entered twice.

    Args:
        folder: Where to begin.
        others: ``identity`` of folders that are not entered.
        on_error: Called if a folder cannot be read; None: it is left out.

    Raises:
        OSError: If a folder cannot be read and ``on_error`` raises.
    """
    files: list[PathT] = []
    left_out: list[str] = []
    seen = {identity(folder), *others}
    for parent, folders, names in _levels(folder, on_error):
        paths = [parent / name for name in (*sorted(folders), *names)]
        hidden = [path for path in paths if is_housekeeping(path.name)]
        left_out += [kind(path) for path in hidden]
        entered = []
        for path in paths[: len(folders)]:
            if is_housekeeping(path.name):
                continue
            if (found := identity(path)) in seen:
                left_out.append("linked folders met before")
                continue
            seen.add(found)
            entered.append(path.name)
        files += [path for path in paths[len(folders) :] if not is_housekeeping(path.name)]
        folders[:] = entered
    return sorted(files), left_out


def _levels(
    folder: DataPath, on_error: Callable[[OSError], None] | None
) -> Iterator[tuple[Any, list[str], list[str]]]:
    if isinstance(folder, S3Path):
        yield from folder.walk()
        return
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=on_error):
        yield Path(parent), folders, names


def identity(folder: DataPath) -> Identity:
    """Device and number of a folder, links are followed; or its URI."""
    if isinstance(folder, S3Path):
        return str(folder)
    status = folder.stat()
    return status.st_dev, status.st_ino
