"""Where a run's files live: a flat namespace of whole, named byte strings, and one writer.

Records, results and pictures all go through this; a local directory and an S3 prefix are the two
implementations. Nothing here knows what the bytes mean.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

LOCK_NAME = "run.lock"
"""Belongs to ``lock``: never listed, and no name to read, write or delete."""
MAX_CALLS = 32
"""How many threads may use a storage at once."""


class Storage(Protocol):
    """A run directory. Names are relative, ``/``-separated, without ``..``."""

    @property
    def uri(self) -> str:
        """What the user named: an absolute path or ``s3://bucket/prefix``."""

    def list(self, prefix: str) -> list[str]:
        """Names that start with ``prefix``, sorted; never a half-written one.

        Raises:
            StorageError: If the storage cannot be read.
        """

    def read(self, name: str) -> bytes:
        """The whole content.

        Raises:
            FileNotFoundError: If there is no such name.
            StorageError: If the storage cannot be read.
        """

    def write(self, name: str, data: bytes) -> None:
        """Store whole or not at all, replacing what was there; durable on return.

        Raises:
            StorageError: If the write failed (full disk, no permission, unreachable).
        """

    def create(self, name: str, data: bytes) -> bool:
        """Like ``write``, but only if the name is free.

        Returns:
            False if the name was taken (nothing is written).
        """

    def delete(self, *names: str) -> None:
        """Remove names; it is no error if one is gone already.

        Raises:
            StorageError: If the storage refused, or cannot be reached.
        """

    def lock(self) -> AbstractContextManager[None]:
        """Hold the run as its only writer while the context is open.

        Raises (on entering):
            RunLockedError: If another driver holds it; says who, and since when. Where a lock can
                be lost (a lease that could not be renewed), later writes raise it too.
            StorageError: If the storage cannot be written.
        """


def check_name(name: str) -> None:
    """Refuse a name that could leave the run directory or means the lock.

    Raises:
        ValueError: If ``name`` is not a relative path of plain segments.
    """
    if any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
        raise ValueError(
            f"invalid name {name!r} in a run directory; allowed: relative names "
            "separated by '/', without empty segments, '.' and '..'"
        )
    if name == LOCK_NAME:
        raise ValueError(f"{LOCK_NAME!r} belongs to the lock of the run; choose another name")
