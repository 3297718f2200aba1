"""One interface over the places where bytes lie: a local folder, or an object store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple, Protocol

# NOTE: S3 and Azure compare the tag, GCS the version; nobody but the storage that gave a token reads it.
Token = Mapping[str, str]


class Stored(NamedTuple):
    """What a key holds, and the token that tells this state of it from any other."""

    content: bytes
    token: Token


class Entry(NamedTuple):
    """A key that exists: its size in bytes, and when it was stored, in seconds since the epoch."""

    key: str
    size: int
    modified: float


class Storage(Protocol):
    """Bytes under keys, which are relative: ``runs/date=2013-02-01/RUN/plan.json``.

    All methods raise OSError where the storage does not answer or refuses. After `create` and `swap` it
    means that nobody knows whether they took place; reading tells.

    Attributes:
        target: the folder or URI that keys start from, for people.
    """

    target: str

    def read(self, key: str) -> Stored | None:
        """What is stored under a key; None where nothing is."""
        ...

    def create(self, key: str, content: bytes) -> bool:
        """Stores the content where the key does not exist yet. Of several at once, one gets True."""
        ...

    def swap(self, key: str, content: bytes, token: Token) -> bool:
        """Replaces the state that `read` gave with this token. False where it is another state by now."""
        ...

    def list(self, prefix: str) -> Iterable[Entry]:
        """All keys below a prefix of whole names (``runs/date=2013-02-01``; empty for all), in any order."""
        ...

    def delete(self, key: str) -> None:
        """Removes a key, where it is still there."""
        ...

    def open_input(self, key: str) -> BinaryIO:
        """A stream to read from, seekable, as pyarrow takes it.

        Raises:
            FileNotFoundError: nothing is stored under the key.
        """
        ...

    def open_output(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Yields a stream to write to, as pyarrow takes it.

        At the end all of it is under the key, in place of what was there; after an exception, nothing of it.
        """
        ...


def write(storage: Storage, key: str, content: bytes) -> None:
    """Stores the content under a key, whole or not at all, whatever is there."""
    with storage.open_output(key) as stream:
        stream.write(content)
