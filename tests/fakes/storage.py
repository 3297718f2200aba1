"""A storage in memory: bytes under keys, each state with a unique token."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import BinaryIO

from batchdeploy.storage.interface import Entry, Stored, Token


class FakeStorage:
    """Bytes by key.

    Attributes:
        failure: raised by every method while it is set, like by a store that does not answer.
    """

    def __init__(self, target: str = "memory:control", clock: Callable[[], float] = time.time) -> None:
        self.target = target
        self.failure: OSError | None = None
        self._clock = clock
        self._lock = Lock()
        self._stored: dict[str, tuple[Stored, float]] = {}
        self._states = 0

    def read(self, key: str) -> Stored | None:
        """The content and token of a key; None if the key does not exist."""
        self._answer()
        found = self._stored.get(key)
        return None if found is None else found[0]

    def create(self, key: str, content: bytes) -> bool:
        """Stores the content if the key does not exist."""
        self._answer()
        with self._lock:
            return key not in self._stored and self._put(key, content)

    def swap(self, key: str, content: bytes, token: Token) -> bool:
        """Replaces the content if the key still has this token, from `read`; otherwise returns False."""
        self._answer()
        with self._lock:
            found = self._stored.get(key)
            return found is not None and found[0].token == dict(token) and self._put(key, content)

    def list(self, prefix: str) -> Iterator[Entry]:
        """All keys below a prefix of whole path segments, in the order of storing."""
        self._answer()
        for key, (stored, modified) in list(self._stored.items()):
            if not prefix or key.startswith(f"{prefix}/"):
                yield Entry(key, len(stored.content), modified)

    def delete(self, key: str) -> None:
        """Removes a key, if it exists."""
        self._answer()
        self._stored.pop(key, None)

    def open_input(self, key: str) -> BinaryIO:
        """Opens a key for reading; FileNotFoundError if it does not exist."""
        found = self.read(key)
        if found is None:
            raise FileNotFoundError(key)
        return io.BytesIO(found.content)

    @contextmanager
    def open_output(self, key: str) -> Iterator[BinaryIO]:
        """Yields a stream to write to; on success its content replaces the key's."""
        self._answer()
        stream = _Output()
        yield stream
        self._answer()
        with self._lock:
            self._put(key, stream.getvalue())

    def _put(self, key: str, content: bytes) -> bool:
        self._states += 1
        self._stored[key] = Stored(content, {"version": str(self._states)}), self._clock()
        return True

    def _answer(self) -> None:
        if self.failure is not None:
            raise self.failure


class _Output(io.BytesIO):
    """A stream that can still be read after a writer closed it."""

    def close(self) -> None:
        """Leaves it open, because pyarrow closes its output."""
