"""An S3 server on 127.0.0.1 for tests, and clients that fail on purpose."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.httpsession import URLLib3Session
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "nasi-test"
_prefix_numbers = itertools.count()


def set_environment(patch: pytest.MonkeyPatch, url: str) -> None:
    """Point the AWS environment at a server, with nothing of this machine's own."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        patch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "test")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        patch.setenv(name, os.devnull)
    patch.setenv("AWS_ENDPOINT_URL", url)
    patch.setenv("AWS_REGION", "us-east-1")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@contextmanager
def s3_server() -> Iterator[None]:
    """Serve an empty bucket ``BUCKET`` and point the AWS environment at it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, f"http://{host}:{port}")
        try:
            boto3.client("s3").create_bucket(Bucket=BUCKET)
            yield
        finally:
            server.stop()


def new_prefix() -> str:
    """A prefix that no other test of this process uses."""
    return f"runs/{next(_prefix_numbers)}"


def quick_client(max_attempts: int = 2) -> S3Client:
    """A client that gives up early."""
    return boto3.client(
        "s3",
        config=Config(
            retries={"mode": "standard", "total_max_attempts": max_attempts},
            connect_timeout=1,
            read_timeout=1,
        ),
    )


def answer_with(
    client: S3Client,
    operation: str,
    status: int,
    code: str,
    *,
    when: Callable[[], bool],
    goes_through: bool = False,
) -> None:
    """Have ``client`` see an error answer while ``when()`` is true.

    The server is not asked, or, if it ``goes_through``, its answer is lost.
    """
    body = f"<Error><Code>{code}</Code><Message>on purpose</Message></Error>".encode()

    def intercept(request: Any, **_: object) -> AWSResponse | None:
        if not when():
            return None
        if goes_through:
            URLLib3Session().send(request)
        return AWSResponse(request.url, status, HTTPHeaders(), _Body(body))

    events: Any = client.meta.events
    events.register(f"before-send.s3.{operation}", intercept)


class _Body(io.BytesIO):
    def stream(self) -> Iterator[bytes]:
        yield self.read()
