"""Files by the descriptor of the directory that holds them; nothing is written through a link."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from nasi_ray.errors import StorageRefusedError

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
"""Flags to open one."""
TEMP_PREFIX = ".tmp-"
_TEMP = re.compile(r"\.tmp-\d+-[0-9a-f]{16}")
# Long past any write, so that a file another process is still writing is never taken away.
_STALE_TEMP_S = 900.0
_LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)


def link_new(temp: str, path: Path, directory: int) -> bool:
    """Give a file its name unless that is taken, which a rename would replace."""
    try:
        os.link(temp, path.name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except FileExistsError:
        is_taken(path, directory)
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise StorageRefusedError(
            f"cannot write {path}: the file system there has no hard links "
            f"({error.strerror}); use another directory"
        ) from error
    return True


def is_taken(path: Path, directory: int) -> bool:
    """Whether there is a file of that name.

    Raises:
        StorageRefusedError: If it is a link or no regular file: it would be lost if replaced, and
            taken for the file that was to be created.
    """
    try:
        mode = os.lstat(path.name, dir_fd=directory).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode):
        raise StorageRefusedError(
            f"cannot write {path}: it is {_kind(mode)}; remove it, or use another directory"
        )
    return True


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "a file"
    return "a link" if stat.S_ISLNK(mode) else "not a regular file"


def read_file(path: Path, directory: int) -> bytes:
    """The content of a regular file, or of one that a link leads to.

    Raises:
        StorageRefusedError: If it is neither.
        FileNotFoundError: If there is nothing of that name.
    """
    # A FIFO that somebody left there would be waited for until it has a writer.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path.name, flags, dir_fd=directory)
    except OSError as error:
        # What is no link has come since.
        if error.errno in _LEADS_NOWHERE and _is_link(path.name, directory):
            raise StorageRefusedError(
                f"cannot read {path}: it is a broken link; remove it, or use another directory"
            ) from None
        raise
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise StorageRefusedError(
                f"cannot read {path}: it is not a regular file; use another directory, or remove it"
            )
        return file.read()


def _is_link(name: str, directory: int) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(name, dir_fd=directory).st_mode)
    except FileNotFoundError:
        return False


def delete_stale_temps(directory: int, now: float) -> None:
    """Remove what killed drivers left in one folder; ``now`` is by the file system's clock."""
    for name in os.listdir(directory):
        if not _TEMP.fullmatch(name):
            continue
        with suppress(OSError):  # somebody else's, or gone
            found = os.lstat(name, dir_fd=directory)
            if stat.S_ISREG(found.st_mode) and now - found.st_mtime > _STALE_TEMP_S:
                os.unlink(name, dir_fd=directory)


def write_all(descriptor: int, data: bytes) -> None:
    """Write, however little each call takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def make_directory(path: Path) -> list[Path]:
    """Make a directory and those above it, durably; links on the way are followed.

    Returns:
        Those that were missing, the lowest last.
    """
    if path.is_dir():
        return []
    made = make_directory(path.parent)
    try:
        path.mkdir()
        made.append(path)
    except FileExistsError:
        if not path.is_dir():
            raise
    try:
        _fsync_directory(path.parent)
    except OSError:
        # Else the next call takes it for one that is there for good.
        with suppress(OSError):
            path.rmdir()
        raise
    return made


def remove_empty(made: Sequence[Path], *, lock: Path | None) -> None:
    """Remove directories, the last one first, up to one in which there is something.

    Args:
        made: The directories.
        lock: A file that is no reason to keep its directory; removed with it.
    """
    with suppress(OSError):
        for path in reversed(made):
            if lock is not None and path == lock.parent and os.listdir(path) == [lock.name]:
                lock.unlink()
            path.rmdir()


def open_below(parent: int, path: Path, made: list[Path] | None) -> int:
    """Open ``path``, a directory of ``parent``.

    Args:
        parent: An open directory.
        path: What messages call it; only its last component is opened.
        made: If given, a missing directory is durably made, and its path added.
    """
    flags = DIRECTORY | os.O_NOFOLLOW
    try:
        return os.open(path.name, flags, dir_fd=parent)
    except FileNotFoundError:
        if made is None:
            raise
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        mode = os.lstat(path.name, dir_fd=parent).st_mode
        raise StorageRefusedError(
            f"cannot use {path}: it is {_kind(mode)} where a directory should be; put the "
            "directory itself there, or use another run directory"
        ) from None
    with suppress(FileExistsError):
        os.mkdir(path.name, dir_fd=parent)
        made.append(path)
        try:
            os.fsync(parent)
        except OSError:
            # Else the next call takes it for one that is there for good.
            with suppress(OSError):
                os.rmdir(path.name, dir_fd=parent)
            raise
    return os.open(path.name, flags, dir_fd=parent)


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
