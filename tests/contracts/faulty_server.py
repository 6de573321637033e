"""An HTTP server on 127.0.0.1 that answers as a test wants, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HANG = 0
CUT_SHORT = 1


@dataclass
class FaultyServer:
    """What it was asked, and what it answers."""

    answer: Callable[[int], int]
    """Number of a request (from 0) -> its HTTP status, ``HANG`` or ``CUT_SHORT``."""
    url: str = ""
    authorizations: list[str] = field(default_factory=list)
    """The header of each request."""
    _released: threading.Event = field(default_factory=threading.Event)

    @property
    def num_requests(self) -> int:
        """Requests so far."""
        return len(self.authorizations)


@contextmanager
def faulty_server(answer: Callable[[int], int]) -> Iterator[FaultyServer]:
    """Serve, any bucket and key, until the context is left."""
    script = FaultyServer(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            number = script.num_requests
            script.authorizations.append(self.headers.get("Authorization", ""))
            status = script.answer(number)
            if status == HANG:
                script._released.wait(60.0)
                self.close_connection = True
                return
            body = b"body" if self.command == "GET" else b""
            if status >= 400:
                body = b"<Error><Code>ServiceUnavailable</Code></Error>"
            self.send_response(200 if status == CUT_SHORT else status)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:2] if status == CUT_SHORT else body)
            self.close_connection = True

        do_GET = do_PUT = do_DELETE = _serve

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
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
