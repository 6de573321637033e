"""Files that a user names: regular ones, up to a size. Errors are those of the system."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

SETTINGS_BYTES = 1 << 20
"""The largest file of settings or prices."""

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def user_path(text: str | os.PathLike[str]) -> Path:
    """A path as a user writes it: ``~`` is the home; ``~name`` stays where there is none."""
    return Path(os.path.expanduser(text))


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file, or one that a link leads to; never wait for a writer.

    Raises:
        OSError: If it cannot be read, or is a folder, a named pipe, a device or a socket.
        ValueError: If no path can have that text.
    """
    _refuse_special(os.stat(path).st_mode, path)  # first: opening a device may already do something
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    try:
        _refuse_special(os.fstat(file.fileno()).st_mode, path)
    except OSError:
        file.close()
        raise
    return file


def read_bytes(path: str | os.PathLike[str], limit: int) -> bytes:
    """The content of a regular file of at most ``limit`` bytes.

    Raises:
        OSError: As ``open_regular``, or if it is larger.
        ValueError: If no path can have that text.
    """
    with open_regular(path) as file:
        # Room is made for all bytes that are asked for.
        size = os.fstat(file.fileno()).st_size
        data = file.read(min(size, limit) + 1)
        if size < len(data) <= limit:  # it grows, or is of a kind whose size is not known
            data += file.read(limit + 1 - len(data))
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes", os.fspath(path))
    return data


def read_text(path: str | os.PathLike[str], limit: int) -> str:
    """As ``read_bytes``, decoded as UTF-8; a byte order mark is left out.

    Raises:
        OSError: As ``read_bytes``.
        UnicodeDecodeError: If it is not UTF-8.
    """
    return read_bytes(path, limit).decode("utf-8-sig")


def _refuse_special(mode: int, path: str | os.PathLike[str]) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "not a regular file")
        raise OSError(errno.EINVAL, f"it is {kind}; a file is needed", os.fspath(path))
