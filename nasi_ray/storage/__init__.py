"""Run directories: a local path or an S3 prefix behind one interface."""

from __future__ import annotations

import os
import re

from nasi_ray.errors import ConfigError
from nasi_ray.storage.base import LOCK_NAME as LOCK_NAME
from nasi_ray.storage.base import MAX_CALLS as MAX_CALLS
from nasi_ray.storage.base import Storage as Storage
from nasi_ray.storage.local import LocalStorage as LocalStorage

_ALLOWED = "a directory path or s3://bucket/prefix"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def open_storage(uri: str) -> Storage:
    """Choose the storage a user named; nothing is read or written yet.

    Args:
        uri: A directory path (``~`` and ``..`` are resolved) or ``s3://bucket/prefix``.

    Raises:
        ConfigError: If it is neither, or the bucket or prefix is malformed.
        StorageError: If no S3 client can be made of the AWS settings (unknown profile, ...).
    """
    if uri.startswith("s3://"):
        bucket, prefix = split_s3(uri)
        # boto3 takes about as long to import as everything else together.
        from nasi_ray.storage.s3 import S3Storage

        return S3Storage(bucket, prefix)
    if not uri.strip() or "\0" in uri:
        raise ConfigError(f"invalid run directory {uri!r}; give {_ALLOWED}")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|[sS]3:", uri):
        raise ConfigError(f"unsupported run directory {uri!r}; give {_ALLOWED}")
    return LocalStorage(os.path.expanduser(uri))


def split_s3(uri: str) -> tuple[str, str]:
    """Bucket and prefix of a URI.

    Raises:
        ConfigError: If one of them is malformed.
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    prefix = prefix.rstrip("/")
    if not _BUCKET.fullmatch(bucket):
        raise ConfigError(
            f"invalid bucket {bucket!r} in {uri!r}; give s3://bucket/prefix with a bucket of "
            "3 to 63 lower-case letters, digits, '-' and '.'"
        )
    if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
        raise ConfigError(
            f"invalid prefix {prefix!r} in {uri!r}; give s3://bucket/prefix without empty "
            "segments, '.' and '..'"
        )
    try:
        prefix.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"invalid prefix {prefix!r} in {uri!r}; give s3://bucket/prefix in UTF-8"
        ) from None
    return bucket, prefix
