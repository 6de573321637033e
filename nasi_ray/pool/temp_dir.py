"""Directories of this process, closed to other users; those of killed processes are deleted."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator

from nasi_ray.errors import ClusterRefusedError

_MAX_SOCKET = 103 if sys.platform == "darwin" else 107
_PREFIX, _INNER, _LOCK = "ray-", "r", "lock"
_SCRATCH = "nasi-ray-"
# Ray's longest socket below its directory.
_LONGEST = f"/session_{'2026-01-01_00-00-00_000000'}_{{pid}}/sockets/plasma_store"

_held: dict[str, int] = {}
"""Directory -> open lock file; the kernel closes it when this process dies."""


def make_temp_dir() -> str:
    """Make one below ``RAY_TMPDIR``, else ``TMPDIR`` or ``/tmp``; for Ray's ``_temp_dir``.

    Raises:
        ClusterRefusedError: If it cannot be made, or is too long for the name of a socket.
    """
    given = os.environ.get("RAY_TMPDIR")
    bases = [given] if given else [os.environ.get("TMPDIR") or "/tmp", "/tmp"]
    longest = _MAX_SOCKET - len(_LONGEST.format(pid=os.getpid())) - len(f"/ray-12345678/{_INNER}")
    fitting = [base for base in map(os.path.abspath, bases) if len(os.fsencode(base)) <= longest]
    name = "RAY_TMPDIR" if given else "TMPDIR"
    if not fitting:
        raise ClusterRefusedError(
            f"Ray cannot start in {bases[0]}: the names of its sockets would be too long; set "
            f"RAY_TMPDIR to a shorter path, of at most {longest} bytes"
        )
    with _refusing(f"Ray cannot start in {fitting[0]}", name):
        os.makedirs(fitting[0], exist_ok=True)
        outer = _make(fitting[0], _PREFIX)
    # Ray opens the directory that it is given to everybody, so that is one inside.
    return os.path.join(outer, _INNER)


@contextlib.contextmanager
def scratch_dir() -> Iterator[str]:
    """A directory below ``TMPDIR`` for what Ray wants to write and nobody reads.

    Raises:
        ClusterRefusedError: If it cannot be made.
    """
    base = os.path.abspath(os.environ.get("TMPDIR") or "/tmp")
    with _refusing(f"cannot make a directory in {base}", "TMPDIR"):
        outer = _make(base, _SCRATCH)
    try:
        yield outer
    finally:
        shutil.rmtree(outer, ignore_errors=True)
        os.close(_held.pop(outer))


@contextlib.contextmanager
def _refusing(what: str, variable: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ClusterRefusedError(
            f"{what}: {reason}; set {variable} to a directory that you can write to"
        ) from error


def _make(base: str, prefix: str) -> str:
    _delete_orphans(base, prefix)
    outer = tempfile.mkdtemp(prefix=prefix, dir=base)
    _held[outer] = _hold(outer)
    return outer


def _hold(outer: str) -> int:
    # Held before it has its name, so that no other process takes it for an orphan's.
    new = os.path.join(outer, f"{_LOCK}.new")
    descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.rename(new, os.path.join(outer, _LOCK))
    return descriptor


def delete_temp_dir(path: str) -> None:
    """Delete what ``make_temp_dir`` has made, with all that is in it."""
    outer = os.path.dirname(path)
    # Ray's agents, which outlive it for a moment, may write while it is being deleted.
    for _ in range(3):
        shutil.rmtree(outer, ignore_errors=True)
    os.close(_held.pop(outer))


def keep_temp_dir(path: str) -> None:
    """Leave it for good, for the logs in it."""
    outer = os.path.dirname(path)
    os.unlink(os.path.join(outer, _LOCK))
    os.close(_held.pop(outer))


def _delete_orphans(base: str, prefix: str) -> None:
    """Delete what killed processes of this user have left: nobody holds its lock."""
    for entry in os.scandir(base):
        lock = os.path.join(entry.path, _LOCK)
        if not entry.name.startswith(prefix):
            continue
        with contextlib.suppress(OSError):  # another process may delete it at the same time
            is_dir = entry.is_dir(follow_symlinks=False)
            if not is_dir or entry.stat(follow_symlinks=False).st_uid != os.getuid():
                continue
            descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(entry.path, ignore_errors=True)
            finally:
                os.close(descriptor)
