"""Where a folder of records is: a path, or the URI of a folder in an object store."""

from __future__ import annotations

from pathlib import Path


class StoreUri(str):
    """The URI of a folder or an object in a store; is joined and taken apart like a path."""

    __slots__ = ()

    def __truediv__(self, key: str) -> StoreUri:
        return StoreUri(f"{self.rstrip('/')}/{key}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> StoreUri:
        """The URI without its last part."""
        return StoreUri(self.rstrip("/").rpartition("/")[0])


Location = Path | StoreUri


def is_uri(text: str) -> bool:
    """Whether a location is in an object store; anything else is a path."""
    return "://" in text


def as_location(text: str) -> Location:
    """A location as somebody wrote it."""
    return StoreUri(text.rstrip("/")) if is_uri(text) else Path(text)
