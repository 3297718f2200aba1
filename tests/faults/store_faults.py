"""Proxies before an object store: one spoils answers at random, one kills a publisher at a request."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

from relay import Relay, serving

# How requests are spoilt, and how often; "slow" is passed on after a while, "late" after the client gave up.
FAULTS = {"answer lost": 10, "409": 10, "412": 10, "503": 10, "cut short": 10, "slow": 10, "late": 0.1}
SLOW_SECONDS = 0.3
# Longer than the client waits for an answer.
LATE_SECONDS = 13.0
CHANGING = ("PUT", "POST", "DELETE")


def one_at_a_time(compares: bool) -> AbstractContextManager[object]:
    """What makes compare-and-swap one step, as in S3: moto reads the object before it takes the new one."""
    return nullcontext() if compares else threading.Lock()


@contextmanager
def faulty(
    port: int, *, share: float, seed: int, compares: bool = False
) -> Iterator[tuple[int, Counter[str]]]:
    """A proxy that spoils this share of a server's responses; yields its port and the counts of faults.

    Args:
        port: the server's.
        share: of the requests that are spoilt.
        seed: of the choice.
        compares: whether the server compares and swaps in one step.
    """
    fired: Counter[str] = Counter()
    random_ = random.Random(seed)
    turn = one_at_a_time(compares)

    class Proxy(Relay):
        def handle_one(self) -> None:
            body = self.body()
            chosen = random_.choices([*FAULTS], [*FAULTS.values()])[0]
            fault = chosen if random_.random() < share else ""
            conditional = "If-Match" in self.headers or "If-None-Match" in self.headers
            if fault in ("409", "412") and not (conditional and self.command == "PUT"):
                fault = "503"
            if fault in ("409", "412", "503"):
                fired[fault] += 1
                self.reply(int(fault), [], b"")
                return
            if fault in ("slow", "late"):
                fired[f"{fault} ({self.command})"] += 1
                time.sleep(LATE_SECONDS if fault == "late" else random_.random() * SLOW_SECONDS)
            with turn:
                status, headers, content = self.ask(port, body, seconds=30)
            if fault == "answer lost":
                fired[f"{fault} ({self.command})"] += 1
                self.break_off()
                return
            if fault == "cut short" and self.command == "GET" and len(content) > 1:
                fired[fault] += 1
                self.reply(status, headers, content, most=len(content) // 2)
                self.break_off()
                return
            self.reply(status, headers, content)

    with serving(Proxy) as listening:
        yield listening, fired


@dataclass(slots=True)
class Gate:
    """A proxy that kills the process whose request it is told to.

    Attributes:
        port: where it listens.
        changes: how many requests that change something it has seen since it was armed.
        fired: whether it killed.
        asking: how many requests the server has not answered yet.
    """

    port: int = 0
    changes: int = 0
    fired: bool = False
    asking: int = 0
    _kill: tuple[int, int, Literal["before", "after"]] | None = None
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def arm(
        self, pid: int | None = None, number: int = 0, when: Literal["before", "after"] = "before"
    ) -> None:
        """Counts anew, and kills a process before or after its n-th change takes effect."""
        self.changes, self.fired = 0, False
        self._kill = None if pid is None else (pid, number, when)

    def strikes(self, number: int, when: Literal["before", "after"]) -> bool:
        """Kills if this is the moment; whether it did."""
        if self._kill is None or self._kill[1:] != (number, when):
            return False
        os.kill(self._kill[0], signal.SIGKILL)
        self.fired = True
        return True

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Counts a request as unanswered."""
        with self._counting:
            self.asking += 1
        try:
            yield
        finally:
            with self._counting:
                self.asking -= 1

    def wait(self) -> None:
        """Returns once the server has answered everything, also what nobody waits for any more."""
        while self.asking:
            time.sleep(0.005)

    def count(self, method: str) -> int:
        """The number of a request among the changes; 0 for one that changes nothing."""
        if method not in CHANGING:
            return 0
        with self._counting:
            self.changes += 1
            return self.changes


@contextmanager
def gate(port: int, *, compares: bool = False) -> Iterator[Gate]:
    """A proxy before a server that kills publishers at their requests."""
    found, turn = Gate(), one_at_a_time(compares)

    class Proxy(Relay):
        def handle_one(self) -> None:
            body = self.body()
            with found.passing():
                self.pass_on(body)

        def pass_on(self, body: bytes) -> None:
            number = found.count(self.command)
            if number and found.strikes(number, "before"):
                self.break_off()
                return
            with turn:
                status, headers, content = self.ask(port, body, seconds=30)
            if number and found.strikes(number, "after"):
                self.break_off()
                return
            self.reply(status, headers, content)

    with serving(Proxy) as found.port:
        yield found
