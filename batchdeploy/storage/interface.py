"""One interface over a local folder and an object store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple, Protocol, runtime_checkable

# Opaque to callers: S3 and Azure compare the ETag, GCS the version.
Token = Mapping[str, str]


class Stored(NamedTuple):
    """The content of a key, and a token that identifies this state of it."""

    content: bytes
    token: Token


class Entry(NamedTuple):
    """An existing key: its size in bytes, and its time of modification in seconds since the epoch."""

    key: str
    size: int
    modified: float


class Storage(Protocol):
    """Bytes stored under relative keys, such as ``runs/date=2013-02-01/RUN/plan.json``.

    Every method raises OSError if the storage does not answer or refuses. After an OSError of `create` or
    `swap` the outcome is unknown; read the key to find out.

    Attributes:
        target: the root folder or URI, for messages.
    """

    target: str

    def read(self, key: str) -> Stored | None:
        """The content and token of a key; None if the key does not exist."""
        ...

    def create(self, key: str, content: bytes) -> bool:
        """Stores the content if the key does not exist. Of concurrent callers, one gets True."""
        ...

    def swap(self, key: str, content: bytes, token: Token) -> bool:
        """Replaces the content if the key still has this token, from `read`; otherwise returns False."""
        ...

    def list(self, prefix: str) -> Iterable[Entry]:
        """All keys below a prefix of whole path segments (``runs/date=2013-02-01``; "": all), unordered."""
        ...

    def delete(self, key: str) -> None:
        """Removes a key, if it exists."""
        ...

    def open_input(self, key: str) -> BinaryIO:
        """Opens a key for reading: a seekable stream that pyarrow accepts.

        Raises:
            FileNotFoundError: the key does not exist.
        """
        ...

    def open_output(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Yields a stream to write to, which pyarrow accepts.

        On success, the stream's content replaces the key's; after an exception the key is unchanged.
        """
        ...


def write(storage: Storage, key: str, content: bytes) -> None:
    """Stores the content under a key atomically, replacing any earlier content."""
    with storage.open_output(key) as stream:
        stream.write(content)


@runtime_checkable
class CopyingStorage(Protocol):
    """Storage that copies a key without reading its content."""

    def copy(self, key: str, target: str) -> bool:
        """Stores the content of a key under a second one as well; False if the first one does not exist."""
        ...


def copy(storage: Storage, key: str, target: str) -> bool:
    """Stores the content of a key under a second one as well; False if the first one does not exist."""
    if isinstance(storage, CopyingStorage):
        return storage.copy(key, target)
    stored = storage.read(key)
    if stored is not None:
        write(storage, target, stored.content)
    return stored is not None


def names_below(storage: Storage, folder: str) -> dict[str, str]:
    """The name of each key directly in a folder, with the key, sorted."""
    keys = (entry.key for entry in storage.list(folder))
    names = {key.removeprefix(f"{folder}/"): key for key in keys}
    return {name: names[name] for name in sorted(names) if "/" not in name}
