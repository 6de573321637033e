"""Objects that are only read: data sets below an S3 prefix."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from functools import lru_cache

from botocore.exceptions import ClientError

from nasi_ray.errors import DataError
from nasi_ray.storage.s3 import make_client
from nasi_ray.storage.s3_errors import is_condition_failed, is_missing, one_line_errors
from nasi_ray.storage.s3_objects import S3Objects


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object as it was listed; small to pickle, connects where it is read."""

    bucket: str
    key: str
    size: int
    """In bytes."""
    etag: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def open(self, buffer_size: int) -> io.BufferedReader:
        """The content as a file that can seek; a request reads at least ``buffer_size`` bytes."""
        return io.BufferedReader(_Reader(self), buffer_size)


def list_objects(bucket: str, prefix: str) -> list[S3Object]:
    """All objects whose keys start with ``prefix``, in any order, without folders of a console.

    Raises:
        StorageError: If they cannot be listed.
    """
    uri = f"s3://{bucket}/{prefix}"
    with one_line_errors("list", uri):
        listed = _objects(bucket, os.getpid()).listed(prefix)
    return [
        S3Object(bucket, item.key, item.size, item.etag)
        for item in listed
        if not item.key.endswith("/")
    ]


def read_object(bucket: str, key: str, limit: int) -> bytes:
    """The content of an object.

    Raises:
        DataError: If there is none, or it has more than ``limit`` bytes.
        StorageError: If it cannot be read.
    """
    uri = f"s3://{bucket}/{key}"
    with one_line_errors("read", uri):
        try:
            return _objects(bucket, os.getpid()).get(key, limit=limit).data
        except ClientError as error:
            if not is_missing(error):
                raise
            raise DataError(f"{uri}: is gone since the data were listed; start again") from error


@lru_cache(maxsize=8)
def _objects(bucket: str, process: int) -> S3Objects:
    """A client of this process: a connection that a fork inherits would be used by both."""
    return S3Objects(make_client(f"s3://{bucket}"), bucket)


class _Reader(io.RawIOBase):
    """Reads an object in parts."""

    def __init__(self, about: S3Object) -> None:
        super().__init__()
        self._about = about
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._about.size}
        self._position = max(0, start[whence] + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        about = self._about
        wanted = min(len(buffer), about.size - self._position)
        if wanted <= 0:
            return 0
        with one_line_errors("read", str(about)):
            try:
                objects = _objects(about.bucket, os.getpid())
                data = objects.get_part(about.key, self._position, wanted, about.etag)
            except ClientError as error:
                if not (is_missing(error) or is_condition_failed(error)):
                    raise
                raise DataError(
                    f"{about}: is gone, or has changed since the data were listed; start again"
                ) from error
        buffer[:wanted] = data
        self._position += wanted
        return wanted
