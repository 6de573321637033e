"""An HTTP server on 127.0.0.1 that answers as a test wants, or not at all."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANG = 0
CUT_SHORT = 1
MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer, word for word."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    """Beside ``Content-Length``, which is added unless it is here; an empty one is left out."""
    body: bytes = b""
    is_reset: bool = False
    """Whether the connection is reset after the body, as by a proxy that dies."""


@dataclass
class FaultyServer:
    """What it was asked, and what it answers."""

    answer: Callable[[int], int | Reply]
    """Number of a request (from 0) -> what is sent, its HTTP status, ``HANG`` or ``CUT_SHORT``."""
    url: str = ""
    authorizations: list[str] = field(default_factory=list)
    """The header of each request."""
    _released: threading.Event = field(default_factory=threading.Event)

    @property
    def num_requests(self) -> int:
        """Requests so far."""
        return len(self.authorizations)


def reply_of(status: int, method: str) -> Reply:
    """What S3 answers with that status."""
    if status >= 400:
        return Reply(status=status, body=b"<Error><Code>ServiceUnavailable</Code></Error>")
    body = b"body" if method == "GET" else b""
    length = {"Content-Length": "4"} if method == "GET" else {}
    return Reply(
        status=200,
        headers={"ETag": '"1"', "Last-Modified": MODIFIED, **length},
        body=body[:2] if status == CUT_SHORT else body,
    )


class _Server(ThreadingHTTPServer):
    def shutdown_request(self, request: Any) -> None:
        # Without the FIN of a shutdown before it, so that a reset is one.
        self.close_request(request)


@contextmanager
def faulty_server(answer: Callable[[int], int | Reply]) -> Iterator[FaultyServer]:
    """Serve, any bucket and key, until the context is left."""
    script = FaultyServer(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            number = script.num_requests
            script.authorizations.append(self.headers.get("Authorization", ""))
            reply = script.answer(number)
            self.close_connection = True
            if reply == HANG:
                script._released.wait(60.0)
                return
            self._send(reply if isinstance(reply, Reply) else reply_of(reply, self.command))

        def _send(self, reply: Reply) -> None:
            length = str(len(reply.body))
            headers = {
                "Date": self.date_time_string(),
                "Content-Length": length,
                "Connection": "close",
                **reply.headers,
            }
            self.send_response_only(reply.status)
            for name, value in headers.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)
            if reply.is_reset:
                # Closing sends RST and no FIN.
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

        do_GET = do_PUT = do_DELETE = do_HEAD = do_POST = _serve

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is logged."""

    server = _Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield script
    finally:
        script._released.set()
        server.shutdown()
        server.server_close()
        thread.join()
