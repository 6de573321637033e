"""A run directory below an S3 prefix; credentials, region and endpoint are boto3's own matter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from nasi_ray.errors import StorageError, StorageRefusedError
from nasi_ray.storage.base import LOCK_NAME, MAX_CALLS, check_name
from nasi_ray.storage.s3_errors import (
    is_condition_failed,
    is_missing,
    is_retryable,
    one_line_errors,
)
from nasi_ray.storage.s3_lease import Lease
from nasi_ray.storage.s3_objects import MAX_DELETED, S3Objects

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LEASE_S = 60.0
# A request to S3 that hangs ends after a minute: every attempt but a fraction of a second is its
# timeout to answer, or to connect. ``StorageRetry`` bridges longer outages.
_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 4},
    connect_timeout=5,
    read_timeout=15,
    max_pool_connections=MAX_CALLS + 2,  # the lock's and the recorder's threads
)
_MAX_TRIES = 3


def make_client(uri: str) -> S3Client:
    """The client that boto3 makes of its environment.

    Args:
        uri: What it is for, for messages.

    Raises:
        StorageRefusedError: If it can make none (unknown profile, malformed settings).
    """
    with one_line_errors("use", uri):
        try:
            return boto3.client("s3", config=_CONFIG)
        except ValueError as error:  # a malformed endpoint
            raise StorageRefusedError(
                f"cannot use {uri}: {error}; correct AWS_ENDPOINT_URL"
            ) from error


class S3Storage:
    """Objects below ``s3://bucket/prefix``, each written by one PUT, so whole or not at all."""

    def __init__(
        self, bucket: str, prefix: str, client: S3Client | None = None, *, lease_s: float = LEASE_S
    ) -> None:
        """Nothing is read or written yet.

        Args:
            bucket: Name of an existing bucket.
            prefix: Without ``/`` at its ends; empty for the whole bucket.
            client: Replaces the client boto3 makes of its environment.
            lease_s: Seconds after which the lock of a dead driver may be taken over.

        Raises:
            StorageRefusedError: If boto3 can make no client (unknown profile, malformed settings).
        """
        self._bucket = bucket
        self._prefix = prefix
        self._lease_s = lease_s
        self._lease: Lease | None = None
        self._client = client or make_client(self.uri)
        self._objects = S3Objects(self._client, bucket)

    @property
    def uri(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def list(self, prefix: str) -> list[str]:
        """Names that start with ``prefix``, sorted (see ``Storage``)."""
        base = f"{self._prefix}/" if self._prefix else ""
        with one_line_errors("list", self.uri):
            names = {key.removeprefix(base) for key in self._objects.keys(base + prefix)}
        # Names that end with "/" are the folders a console makes.
        return sorted(n for n in names if n and n != LOCK_NAME and not n.endswith("/"))

    def read(self, name: str) -> bytes:
        """The whole content (see ``Storage``)."""
        key, uri = self._key(name)
        with one_line_errors("read", uri):
            try:
                return self._objects.get(key).data
            except ClientError as error:
                if not is_missing(error):
                    raise
        raise FileNotFoundError(f"{uri} does not exist")

    def write(self, name: str, data: bytes) -> None:
        """Store whole or not at all, replacing what was there (see ``Storage``)."""
        key, uri = self._key(name)
        self._check_lease()
        with one_line_errors("write", uri):
            self._objects.put(key, data)

    def create(self, name: str, data: bytes) -> bool:
        """Like ``write``, but only if the name is free (see ``Storage``)."""
        key, uri = self._key(name)
        self._check_lease()
        with one_line_errors("write", uri):
            for _ in range(_MAX_TRIES):
                try:
                    self._objects.put(key, data, IfNoneMatch="*")
                    return True
                except ClientError as error:
                    if not is_condition_failed(error):
                        raise
                    retried = error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
                try:
                    stored = self.read(name)
                except FileNotFoundError:  # a conflict with a put or delete that is over now
                    continue
                # Of a retried request an attempt may have gone through with its answer lost.
                return retried and stored == data
        raise StorageError(f"cannot write {uri}: conflicting writes to it; try again")

    def delete(self, *names: str) -> None:
        """Remove names, if they are there (see ``Storage``)."""
        left = list(names)
        for start in range(0, len(names) - 1, MAX_DELETED):
            gone = self._delete_together(names[start : start + MAX_DELETED])
            left = [name for name in left if name not in gone]
        with ThreadPoolExecutor(MAX_CALLS, thread_name_prefix="delete") as pool:
            list(pool.map(self._delete_one, left))

    def _delete_together(self, names: Sequence[str]) -> set[str]:
        """Those that one request has removed."""
        keys = {self._key(name)[0]: name for name in names}
        self._check_lease()
        with one_line_errors("delete", f"{len(names)} objects of {self.uri}"):
            try:
                return {keys[key] for key in self._objects.delete_many(list(keys))}
            except ClientError as error:
                if is_retryable(error):
                    raise
                # Not every service knows this request; each by itself is told why not, if so.
                return set()

    def _delete_one(self, name: str) -> None:
        key, uri = self._key(name)
        self._check_lease()
        with one_line_errors("delete", uri):
            self._objects.delete(key)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run by a lease that a thread renews (see ``Storage`` and ``Lease``).

        A driver that could not renew it in time writes nothing more once another has taken it.
        """
        key = f"{self._prefix}/{LOCK_NAME}" if self._prefix else LOCK_NAME
        lease = Lease(self._objects, key, run_uri=self.uri, duration_s=self._lease_s)
        try:
            lease.acquire()
            self._lease = lease
            yield
        finally:
            self._lease = None
            lease.release()

    def _key(self, name: str) -> tuple[str, str]:
        check_name(name)
        key = f"{self._prefix}/{name}" if self._prefix else name
        return key, f"s3://{self._bucket}/{key}"

    def _check_lease(self) -> None:
        if self._lease is not None:
            self._lease.check()


if TYPE_CHECKING:
    from nasi_ray.storage.base import Storage

    _: Storage = S3Storage("", "")
