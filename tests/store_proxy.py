"""A proxy on loopback before an object store: counts requests, and spoils the answers it is told to."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from relay import Relay, serving

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

    class Handler(Relay):
        def handle_one(self) -> None:
            body = self.body()
            fault = proxy.take_fault(f"{self.command} {self.path} {self.headers.get('Range', '')}")
            if isinstance(fault, int):
                self.reply(fault, [], proxy.body.encode())
                return
            if fault == "slow":
                stopped.wait(3600)
            status, headers, content = self.ask(port, body)
            if fault in ("lost", "slow"):
                self.break_off()
                return
            proxy.asked.append(Asked(self.command, self.path, len(content)))
            self.reply(status, headers, content, most=len(content) // 2 if fault == "cut" else None)
            if fault == "cut":
                self.break_off()

    with serving(Handler) as proxy.port:
        try:
            yield proxy
        finally:
            stopped.set()
