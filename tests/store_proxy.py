"""A proxy on loopback before an object store: counts requests, and spoils the answers it is told to."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple

# `lost` closes the connection in place of the answer, `cut` after half of its body, `slow` never answers.
Fault = Literal["lost", "cut", "slow"] | int


class Asked(NamedTuple):
    """One request: what was asked for, and how many bytes of body the answer had."""

    method: str
    path: str
    bytes: int


@dataclass(slots=True)
class StoreProxy:
    """What a proxy was asked, and what it does.

    Attributes:
        port: where it listens.
        asked: the requests that it passed on, in order.
        fault: what it does to each request whose line ``matching`` finds; None passes all on.
        body: of the answers with a status in place of the store's.
        times: how many requests it spoils; None for all.
        fired: how many it spoilt.
    """

    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    fault: Fault | None = None
    matching: str = ""
    body: str = ""
    times: int | None = None
    fired: int = 0

    def take_fault(self, line: str) -> Fault | None:
        """The fault for a request, counted."""
        spent = self.times is not None and self.fired >= self.times
        if self.fault is None or spent or not re.search(self.matching, line):
            return None
        self.fired += 1
        return self.fault


@contextmanager
def store_proxy(port: int) -> Iterator[StoreProxy]:
    """A proxy before the server at a port of this machine."""
    proxy, stopped = StoreProxy(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = proxy.take_fault(f"{self.command} {self.path} {self.headers.get('Range', '')}")
            if isinstance(fault, int):
                self._answer(fault, [], proxy.body.encode())
                return
            if fault == "slow":
                stopped.wait(3600)
            upstream = HTTPConnection("127.0.0.1", port, timeout=60)
            upstream.request(self.command, self.path, body or None, dict(self.headers))
            answer = upstream.getresponse()
            content = answer.read()
            upstream.close()
            if fault in ("lost", "slow"):
                self._break_off()
                return
            proxy.asked.append(Asked(self.command, self.path, len(content)))
            most = len(content) // 2 if fault == "cut" else None
            self._answer(answer.status, answer.getheaders(), content, most=most)
            if fault == "cut":
                self._break_off()

        def _break_off(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def _answer(
            self, status: int, headers: list[tuple[str, str]], content: bytes, most: int | None = None
        ) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = next((v for n, v in headers if n.lower() == "content-length"), str(len(content)))
            self.send_header("Content-Length", length if self.command == "HEAD" else str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[:most])

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_one

        def log_message(self, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    proxy.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
