"""A metadata service on 127.0.0.1 like that of AWS, which misbehaves on demand."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeMetadata:
    """What the service says; a test changes it while it runs."""

    def __init__(self) -> None:
        self.url = ""
        self.values: dict[str, str] = {"instance-life-cycle": "spot"}
        self.asked: list[str] = []
        self.status = 200
        """Another one answers everything."""
        self.delay_s = 0.0
        self.cuts_off = False
        self._numbers = itertools.count()
        self._valid: set[str] = set()

    def new_token(self) -> str:
        token = f"token-{next(self._numbers)}"
        self._valid.add(token)
        return token

    def expire_tokens(self) -> None:
        self._valid.clear()

    def is_valid(self, token: str | None) -> bool:
        return token in self._valid


def _handler(fake: FakeMetadata) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def answer(self, status: int, text: str = "") -> None:
            time.sleep(fake.delay_s)
            body = text.encode()
            self.send_response(fake.status if fake.status != 200 else status)
            self.send_header("Content-Length", str(len(body) + (100 if fake.cuts_off else 0)))
            # A client that ran out of patience is gone by now.
            with suppress(BrokenPipeError, ConnectionResetError):
                self.end_headers()
                self.wfile.write(body)

        def do_PUT(self) -> None:
            has_ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds") == "21600"
            is_right = self.path == "/latest/api/token" and has_ttl
            self.answer(200, fake.new_token()) if is_right else self.answer(400)

        def do_GET(self) -> None:
            name = self.path.removeprefix("/latest/meta-data/")
            fake.asked.append(name)
            if not fake.is_valid(self.headers.get("X-aws-ec2-metadata-token")):
                self.answer(401)
            elif name in fake.values:
                self.answer(200, fake.values[name])
            else:
                self.answer(404)

    return Handler


@contextmanager
def fake_metadata() -> Iterator[FakeMetadata]:
    fake = FakeMetadata()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
