"""Opening a lock file so that nobody's file is emptied through a link. Standard library only."""

from __future__ import annotations

import errno
import os
import stat

from nasi_ray.errors import StorageRefusedError

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def open_lock_file(path: str | os.PathLike[str], *, dir_fd: int | None = None) -> int:
    """Open a lock file for writing, made where it is missing; its content is left as it is.

    Args:
        path: What messages call it; with ``dir_fd`` only its last component is opened.
        dir_fd: An open directory that holds it.

    Returns:
        A descriptor, which the caller closes.

    Raises:
        StorageRefusedError: If it is a link, no regular file, or has a second name (hard link).
        OSError: If it cannot be opened.
    """
    name = path if dir_fd is None else os.path.basename(path)
    try:
        descriptor = os.open(name, _FLAGS, 0o666, dir_fd=dir_fd)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
            raise
        raise StorageRefusedError(_refusal(path, "it is a link or not a regular file")) from error
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
        return descriptor
    os.close(descriptor)
    is_regular = stat.S_ISREG(found.st_mode)
    reason = "it has other names (hard links)" if is_regular else "it is not a regular file"
    raise StorageRefusedError(_refusal(path, reason))


def _refusal(path: str | os.PathLike[str], reason: str) -> str:
    return (
        f"cannot lock {os.fspath(path)}: {reason}, and writing to it could change another file; "
        "remove it"
    )
