"""A server on loopback before another one: passes requests on, and lets a test decide about the answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Headers = Sequence[tuple[str, str]]


class Relay(BaseHTTPRequestHandler):
    """Handles each request by `handle_one`, which a test's own class defines."""

    protocol_version = "HTTP/1.1"

    def handle_one(self) -> None:
        """Answers one request."""
        raise NotImplementedError

    def body(self) -> bytes:
        """The request's body; to be read once."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def ask(self, port: int, body: bytes, *, seconds: float = 60) -> tuple[int, Headers, bytes]:
        """What the server at a port of this machine answers to this request: status, headers, content."""
        upstream = HTTPConnection("127.0.0.1", port, timeout=seconds)
        upstream.request(self.command, self.path, body or None, dict(self.headers))
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        return answer.status, answer.getheaders(), content

    def reply(self, status: int, headers: Headers, content: bytes, most: int | None = None) -> int:
        """Answers the request, with so many bytes of the content; returns how many were sent."""
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = next((v for n, v in headers if n.lower() == "content-length"), str(len(content)))
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        return self.wfile.write(b"" if self.command == "HEAD" else content[:most])

    def break_off(self) -> None:
        """Ends the connection at once."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *arguments: Any) -> None:
        pass

    def _handle(self) -> None:
        self.handle_one()

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _handle


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: Any) -> None:
        """Says nothing: the client broke off, or the test did."""


@contextmanager
def serving(handler: type[Relay]) -> Iterator[int]:
    """Serves on loopback until the end of the context; gives the port."""
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
