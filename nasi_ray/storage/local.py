"""A run directory on a file system: temporary file, fsync, rename; flock as the lock."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from nasi_ray.errors import RunLockedError, StorageError, StorageRefusedError
from nasi_ray.storage.base import LOCK_NAME, check_name

_TEMP_PREFIX = ".tmp-"
# Long past any write, so that a file another process is still writing is never taken away.
_STALE_TEMP_S = 900.0
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_IN_THE_WAY = (errno.ENOTDIR, errno.EEXIST)
_NO_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)


class LocalStorage:
    """Files below one directory, which is made at the first write."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._root = Path(os.path.abspath(path))

    @property
    def uri(self) -> str:
        """The absolute path."""
        return str(self._root)

    def list(self, prefix: str) -> list[str]:
        """Names that start with ``prefix``, sorted (see ``Storage``)."""
        with _one_line_errors("list", self._root):
            return sorted(
                name
                for name in self._walk(prefix.rpartition("/")[0])
                if name.startswith(prefix)
                and name != LOCK_NAME
                and not name.rpartition("/")[2].startswith(_TEMP_PREFIX)
            )

    def read(self, name: str) -> bytes:
        """The whole content (see ``Storage``)."""
        path = self._path(name)
        try:
            with _one_line_errors("read", path):
                return _read_file(path)
        except (FileNotFoundError, IsADirectoryError):
            raise FileNotFoundError(f"{path} does not exist") from None

    def write(self, name: str, data: bytes) -> None:
        """Store whole or not at all, replacing what was there (see ``Storage``)."""
        path = self._path(name)
        with _one_line_errors("write", path), _staged(path, data) as temp:
            os.replace(temp, path)
            _fsync_directory(path.parent)

    def create(self, name: str, data: bytes) -> bool:
        """Like ``write``, but only if the name is free (see ``Storage``)."""
        path = self._path(name)
        with _one_line_errors("write", path):
            is_new = not path.exists()
            if is_new:
                with _staged(path, data) as temp:
                    is_new = _link(temp, path)
            # Also of a taken name: it may be ours, of a call whose fsync failed.
            _fsync_directory(path.parent)
        return is_new

    def delete(self, name: str) -> None:
        """Remove a name, if it is there (see ``Storage``)."""
        path = self._path(name)
        with _one_line_errors("delete", path):
            path.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run by ``flock``: the kernel releases it when the holder dies.

        The lock is the file's, not its name's: who removes ``run.lock`` while it is held lets a
        second driver in, which neither notices. Both write whole parts that are never overwritten,
        equal where they hold the same samples, so that work is done twice and nothing is lost.
        """
        path = self._root / LOCK_NAME
        with _one_line_errors("lock", path):
            _make_directory(self._root)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with _one_line_errors("lock", path):
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise RunLockedError(_locked_message(self.uri, descriptor)) from None
                _write_holder(descriptor)
                self._delete_stale_temps(now=os.fstat(descriptor).st_mtime)
            try:
                yield
            finally:
                with suppress(OSError):
                    os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    def _path(self, name: str) -> Path:
        check_name(name)
        return self._root / name

    def _walk(self, below: str) -> Iterator[str]:
        def fail(error: OSError) -> None:
            if error.errno != errno.ENOENT:
                raise error

        for directory, _, files in os.walk(self._root / below, onerror=fail):
            for file in files:
                yield (Path(directory) / file).relative_to(self._root).as_posix()

    def _delete_stale_temps(self, now: float) -> None:
        for name in self._walk(""):
            if not name.rpartition("/")[2].startswith(_TEMP_PREFIX):
                continue
            path = self._root / name
            with suppress(FileNotFoundError):
                if now - path.stat().st_mtime > _STALE_TEMP_S:
                    path.unlink()


@contextmanager
def _one_line_errors(action: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, IsADirectoryError):
        if action == "read":
            raise
        raise StorageRefusedError(
            f"cannot {action} {path}: a directory is in the way or gone"
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


@contextmanager
def _staged(path: Path, data: bytes) -> Iterator[Path]:
    """Put ``data`` durably under a temporary name beside ``path``; gone on leaving."""
    _make_directory(path.parent)
    temp = path.parent / f"{_TEMP_PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
    descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        yield temp
    finally:
        with suppress(OSError):
            temp.unlink()


def _link(temp: Path, path: Path) -> bool:
    """Give a file its name unless that is taken, which a rename would replace."""
    try:
        os.link(temp, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise StorageRefusedError(
            f"cannot write {path}: the file system there has no hard links "
            f"({error.strerror}); use another directory"
        ) from error
    return True


def _read_file(path: Path) -> bytes:
    # A FIFO that somebody left there would be waited for until it has a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise StorageRefusedError(
                f"cannot read {path}: it is no regular file; use another directory, or remove it"
            )
        return file.read()


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _make_directory(path: Path) -> None:
    if path.is_dir():
        return
    _make_directory(path.parent)
    path.mkdir(exist_ok=True)
    try:
        _fsync_directory(path.parent)
    except OSError:
        # Else the next call takes it for one that is there for good.
        with suppress(OSError):
            path.rmdir()
        raise


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_holder(descriptor: int) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    _write_all(descriptor, json.dumps(holder).encode())


def _locked_message(uri: str, descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        who = f"pid {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):  # it has the lock and has not signed yet
        who = "another driver"
    return f"{uri} is being written by {who}; wait for it, stop it, or use another run directory"


if TYPE_CHECKING:
    from nasi_ray.storage.base import Storage

    _: Storage = LocalStorage("")
