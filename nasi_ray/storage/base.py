"""Where a run's files live: a flat namespace of whole, named byte strings, and one writer.

Records, results and pictures all go through this; a local directory and an S3 prefix are the two
implementations. Nothing here knows what the bytes mean.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


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

    def delete(self, name: str) -> None:
        """Remove a name; it is no error if it is gone already."""

    def lock(self) -> AbstractContextManager[None]:
        """Hold the run as its only writer while the context is open.

        Raises:
            RunLockedError: If another driver holds it; says who, and since when.
        """
