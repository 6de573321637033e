"""An S3 server (moto) in a process of its own that fails on demand."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "chaos"
FAULTS = ("500", "503", "slow", "answer lost")
"""Two refusals; served after a second; served, but the answer comes too late to be read."""
SLOW_S = 1.0
LOST_S = 4.0
"""Longer than the drivers of the benchmark wait for an answer."""

_ERRORS = {"500": "500 InternalError", "503": "503 SlowDown"}


class FaultyS3:
    """The server and the switch for its faults; use as a context manager."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._fault = context.Value("i", -1)
        self._num_left = context.Value("i", 0)
        self._port = context.Value("i", 0)
        self._process = context.Process(
            target=_serve, args=(self._fault, self._num_left, self._port), daemon=True
        )

    def __enter__(self) -> FaultyS3:
        self._process.start()
        deadline = time.monotonic() + 60
        while not self._port.value:
            if not self._process.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the S3 server did not start")
            time.sleep(0.05)
        os.environ.update(
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{self._port.value}",
            AWS_ACCESS_KEY_ID="chaos",
            AWS_SECRET_ACCESS_KEY="chaos",
            AWS_REGION="us-east-1",
            AWS_EC2_METADATA_DISABLED="true",
        )
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    def fail(self, kind: str, num_requests: int) -> None:
        """Have so many requests fail in this way (one of ``FAULTS``)."""
        self._fault.value = FAULTS.index(kind)
        self._num_left.value = num_requests

    def heal(self) -> None:
        """Serve everything again."""
        self._num_left.value = 0


class _Handler(WSGIRequestHandler):
    def log_request(self, *args: Any) -> None:
        """Say nothing."""

    def log(self, *args: Any) -> None:
        """Nor of clients that have gone: that is the point."""


def _serve(fault: Any, num_left: Any, port: Any) -> None:
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server(
        "127.0.0.1", 0, _faulty(app, fault, num_left), threaded=True, request_handler=_Handler
    )
    port.value = server.server_port
    server.serve_forever()


def _faulty(app: Any, fault: Any, num_left: Any) -> Callable[..., Iterable[bytes]]:
    def answer(environ: Any, start_response: Any) -> Iterable[bytes]:
        with num_left.get_lock():
            is_faulty = num_left.value > 0
            num_left.value -= is_faulty
        if not is_faulty:
            return _answer(app, environ, start_response)
        kind = FAULTS[fault.value]
        if kind in _ERRORS:
            # The body has to be read, or the client sees a broken connection instead.
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(_ERRORS[kind], [("Content-Type", "application/xml")])
            code = _ERRORS[kind].partition(" ")[2]
            return [f"<Error><Code>{code}</Code><Message>chaos</Message></Error>".encode()]
        if kind == "slow":
            time.sleep(SLOW_S)
            return _answer(app, environ, start_response)
        served = list(_answer(app, environ, start_response))
        time.sleep(LOST_S)
        return served

    return answer


def _answer(app: Any, environ: Any, start_response: Any) -> Iterable[bytes]:
    answer: Iterable[bytes] = app(environ, start_response)
    return answer
