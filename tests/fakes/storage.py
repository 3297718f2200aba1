"""A storage in memory: bytes under keys, each state with a token of its own."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import BinaryIO

from batchdeploy.storage.interface import Entry, Stored, Token


class FakeStorage:
    """Bytes by key; what is stored lasts as long as the object.

    Attributes:
        failure: raised by every call while it is set, as by a store that does not answer.
    """

    def __init__(self, target: str = "memory:control", clock: Callable[[], float] = time.time) -> None:
        self.target = target
        self.failure: OSError | None = None
        self._clock = clock
        self._lock = Lock()
        self._stored: dict[str, tuple[Stored, float]] = {}
        self._states = 0

    def read(self, key: str) -> Stored | None:
        """What is stored under a key; None where nothing is."""
        self._answer()
        found = self._stored.get(key)
        return None if found is None else found[0]

    def create(self, key: str, content: bytes) -> bool:
        """Stores the content where the key does not exist yet."""
        self._answer()
        with self._lock:
            return key not in self._stored and self._put(key, content)

    def swap(self, key: str, content: bytes, token: Token) -> bool:
        """Replaces the state that `read` gave with this token. False where it is another state by now."""
        self._answer()
        with self._lock:
            found = self._stored.get(key)
            return found is not None and found[0].token == dict(token) and self._put(key, content)

    def list(self, prefix: str) -> Iterator[Entry]:
        """All keys below a prefix of whole names, in the order in which they were stored."""
        self._answer()
        for key, (stored, modified) in list(self._stored.items()):
            if not prefix or key.startswith(f"{prefix}/"):
                yield Entry(key, len(stored.content), modified)

    def delete(self, key: str) -> None:
        """Removes a key, where it is still there."""
        self._answer()
        self._stored.pop(key, None)

    def open_input(self, key: str) -> BinaryIO:
        """A stream to read from: FileNotFoundError where nothing is stored under the key."""
        found = self.read(key)
        if found is None:
            raise FileNotFoundError(key)
        return io.BytesIO(found.content)

    @contextmanager
    def open_output(self, key: str) -> Iterator[BinaryIO]:
        """Yields a stream to write to; at its end all of it is under the key, after an exception nothing."""
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
    """A stream whose content can still be asked for when a writer has closed it."""

    def close(self) -> None:
        """Leaves it open: pyarrow closes what it wrote to."""
