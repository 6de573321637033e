"""A run directory on a file system: temporary file, fsync, rename; flock as the lock."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from nasi_ray.errors import RunLockedError, StorageError, StorageRefusedError
from nasi_ray.storage.base import LOCK_NAME, check_name
from nasi_ray.storage.local_files import (
    DIRECTORY,
    TEMP_PREFIX,
    delete_stale_temps,
    is_taken,
    link_new,
    make_directory,
    open_below,
    read_file,
    remove_empty,
    write_all,
)
from nasi_ray.storage.lock_file import open_lock_file

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_IN_THE_WAY = (errno.ENOTDIR, errno.EEXIST)
_MAX_TRIES = 5
_NO_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP)


class LocalStorage:
    """Files below one directory, which is made at the first write."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._root = Path(os.path.abspath(path))
        self._swept: set[Path] = set()
        self._made: list[Path] = []

    @property
    def uri(self) -> str:
        """The absolute path."""
        return str(self._root)

    def list(self, prefix: str) -> list[str]:
        """Names that start with ``prefix``, sorted (see ``Storage``)."""
        below = prefix.rpartition("/")[0]
        with _one_line_errors("list", self._root):
            return sorted(
                name
                for name in self._walk(below)
                if name.startswith(prefix)
                and name != LOCK_NAME
                and not name.rpartition("/")[2].startswith(TEMP_PREFIX)
            )

    def read(self, name: str) -> bytes:
        """The whole content (see ``Storage``)."""
        path = self._path(name)
        try:
            with _one_line_errors("read", path), self._directory(name) as directory:
                return read_file(path, directory)
        except (FileNotFoundError, IsADirectoryError):
            raise FileNotFoundError(f"{path} does not exist") from None

    def write(self, name: str, data: bytes) -> None:
        """Store whole or not at all, replacing what was there (see ``Storage``)."""
        path = self._path(name)
        with _one_line_errors("write", path), self._directory(name, make=True) as directory:
            is_taken(path, directory)
            with self._staged(path, directory, data) as temp:
                os.replace(temp, path.name, src_dir_fd=directory, dst_dir_fd=directory)
                os.fsync(directory)

    def create(self, name: str, data: bytes) -> bool:
        """Like ``write``, but only if the name is free (see ``Storage``)."""
        path = self._path(name)
        with _one_line_errors("write", path), self._directory(name, make=True) as directory:
            is_new = not is_taken(path, directory)
            if is_new:
                with self._staged(path, directory, data) as temp:
                    is_new = link_new(temp, path, directory)
            # Also of a taken name: it may be ours, of a call whose fsync failed.
            os.fsync(directory)
        return is_new

    def delete(self, *names: str) -> None:
        """Remove names, if they are there (see ``Storage``)."""
        for name in names:
            path = self._path(name)
            with (
                _one_line_errors("delete", path),
                suppress(FileNotFoundError),
                self._directory(name) as directory,
            ):
                os.unlink(path.name, dir_fd=directory)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run by ``flock``: the kernel releases it when the holder dies.

        The lock is the file's, not its name's: who removes ``run.lock`` while it is held lets a
        second driver in, which neither notices. Both write whole parts that are never overwritten,
        equal where they hold the same samples, so that work is done twice and nothing is lost.
        If nothing is stored by the end, the directories that were made for it go again.
        """
        path = self._root / LOCK_NAME
        descriptor: int | None = None
        try:
            descriptor = self._take_lock(path)
            yield
        finally:
            # Nothing was stored if there is still nothing else.
            remove_empty(self._made, lock=path if descriptor is not None else None)
            self._made.clear()
            if descriptor is not None:
                with suppress(OSError):
                    os.ftruncate(descriptor, 0)
                os.close(descriptor)

    def _take_lock(self, path: Path) -> int:
        with _one_line_errors("lock", path):
            for _ in range(_MAX_TRIES):
                with self._directory(LOCK_NAME, make=True) as directory:
                    descriptor = open_lock_file(path, dir_fd=directory)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    # A driver that stored nothing may have removed it meanwhile.
                    if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                        _write_holder(descriptor)
                        return descriptor
                except BlockingIOError:
                    message = _locked_message(self.uri, descriptor)
                    os.close(descriptor)
                    raise RunLockedError(message) from None
                except FileNotFoundError:
                    pass
                except BaseException:
                    os.close(descriptor)
                    raise
                os.close(descriptor)
        raise RunLockedError(f"{self.uri} is being locked by other drivers; try again")

    def _path(self, name: str) -> Path:
        check_name(name)
        return self._root / name

    @contextmanager
    def _directory(self, name: str, *, make: bool = False) -> Iterator[int]:
        """The open directory of a name; links lead to the run directory, and none goes on below.

        Raises:
            StorageRefusedError: If a directory below the run directory is a link.
            OSError: If it is missing and shall not be made, or cannot be opened.
        """
        if make:
            self._made += make_directory(self._root)
        path = self._root
        descriptor = os.open(path, DIRECTORY)
        try:
            for part in name.split("/")[:-1]:
                path /= part
                below = open_below(descriptor, path, self._made if make else None)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def _walk(self, below: str) -> Iterator[str]:
        """Names of all files below a folder, none if it is missing."""

        def fail(error: OSError) -> None:
            if error.errno != errno.ENOENT:
                raise error

        try:
            with self._directory(f"{below}/x" if below else "x") as directory:
                for folder, _, files, _ in os.fwalk(".", dir_fd=directory, onerror=fail):
                    paths = (os.path.join(below, folder, file) for file in files)
                    yield from map(os.path.normpath, paths)
        except FileNotFoundError:
            return

    @contextmanager
    def _staged(self, path: Path, directory: int, data: bytes) -> Iterator[str]:
        """Put ``data`` durably under a temporary name beside ``path``; gone on leaving."""
        temp = f"{TEMP_PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
        descriptor = os.open(temp, _NEW_FILE, 0o666, dir_fd=directory)
        try:
            try:
                write_all(descriptor, data)
                os.fsync(descriptor)
                now = os.fstat(descriptor).st_mtime
            finally:
                os.close(descriptor)
            if path.parent not in self._swept:
                delete_stale_temps(directory, now)
                self._swept.add(path.parent)
            yield temp
        finally:
            with suppress(OSError):
                os.unlink(temp, dir_fd=directory)


@contextmanager
def _one_line_errors(action: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, IsADirectoryError):
        if action == "read":
            raise
        raise StorageRefusedError(
            f"cannot {action} {path}: a directory has this name, or the directory above it was "
            "deleted; use another directory"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        is_refusal = error.errno in (*_NOT_ALLOWED, *_IN_THE_WAY, *_NO_NAME)
        kind = StorageRefusedError if is_refusal else StorageError
        raise kind(f"cannot {action} {path}: {reason}{_advice(error.errno)}") from error


def _advice(number: int | None) -> str:
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "; free some space there, or use another directory"
    if number in _NOT_ALLOWED:
        return "; make it writable for you, or use another directory"
    if number in _IN_THE_WAY:
        return "; a file is where a directory should be: use another directory"
    return ""


def _write_holder(descriptor: int) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    write_all(descriptor, json.dumps(holder).encode())


def _locked_message(uri: str, descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        who = f"pid {holder['pid']} on {holder['host']} since {holder['since']}"
    except (
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
    ):  # it has the lock and has not signed yet
        who = "another driver"
    return f"{uri} is being written by {who}; wait for it, stop it, or use another run directory"


if TYPE_CHECKING:
    from nasi_ray.storage.base import Storage

    _: Storage = LocalStorage("")
