"""Changes of keys that several writers compete for: by compare-and-swap, until the outcome is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import SystemRandom
from typing import TypeVar

from batchdeploy.storage.interface import Storage

T = TypeVar("T")
# Of writers that race, one gets through each time: so many may write at once.
MOST_TRIES = 60
# Requests without an answer, beyond the store's own retries, before giving up.
MOST_FAILURES = 4
# Seconds between tries; the first number doubles each time.
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.5


def compete(change: Callable[[], T | None], key: str) -> T:
    """Repeats a change until it returns something other than None, which means that another writer was first.

    The change reads before it writes. So it finds out whether a request that got no answer arrived.

    Args:
        change: reads, compares and swaps once.
        key: what it changes, for messages.

    Raises:
        OSError: the storage failed repeatedly, or other writers were always first.
    """
    failures = 0
    for tried in range(MOST_TRIES):
        try:
            if (done := change()) is not None:
                return done
        except OSError:
            failures += 1
            if failures == MOST_FAILURES:
                raise
        # By chance, so that those who collided do not collide again.
        time.sleep(SystemRandom().uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**tried)))
    raise OSError(f"{key}: other writers were first {MOST_TRIES} times")


def append_line(storage: Storage, key: str, line: str) -> None:
    """Appends a line to a key's content, unless the content has that line already; no line is lost.

    So a line that is appended again after a kill or a lost answer is there once. It should name its time.

    Args:
        storage: compares by itself, or under a lock that this caller does not hold.
        key: the file.
        line: the text without its line break.

    Raises:
        OSError: the storage failed repeatedly, or other writers were always first.
    """
    compete(lambda: _append(storage, key, line.encode()) or None, key)


def _append(storage: Storage, key: str, line: bytes) -> bool:
    """Tries once; returns whether the content has the line."""
    stored = storage.read(key)
    if stored is None:
        return storage.create(key, line + b"\n")
    before = stored.content
    if line in before.split(b"\n"):
        return True
    # A full disk may have cut off the last line.
    start = b"\n" if before and not before.endswith(b"\n") else b""
    return storage.swap(key, before + start + line + b"\n", stored.token)
