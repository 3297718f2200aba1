"""The files of a table that is published by pointer, and its pointer document."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from batchdeploy.core.layout import POINTER
from batchdeploy.core.locations import is_uri
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.storage.files import Disk
from batchdeploy.storage.interface import Storage, Token, write
from batchdeploy.storage.object_storage import storage_error
from batchdeploy.storage.opening import open_location

FORMAT = "batchdeploy.pointer/1"


class Seen(NamedTuple):
    """The pointer as read, and the token of this state (None: no pointer exists)."""

    document: dict[str, Any]
    token: Token | None


class PointerFiles:
    """The files of one table over a `Storage`. Failures raise `PublishError`, except in `replace`.

    Args:
        storage: the table's storage.
        disk: writes a table in a folder; None: without syncing it.
    """

    def __init__(self, storage: Storage, disk: Disk | None = None) -> None:
        self.target = storage.target
        self.storage = storage
        self._disk = disk or Disk(power=False)

    def read(self) -> Seen:
        """Reads the pointer; returns an empty one if nothing was ever published.

        Raises:
            PublishError: the storage does not answer, or the pointer is invalid.
        """
        try:
            stored = self.storage.read(POINTER)
            document = None if stored is None else json.loads(stored.content)
        except (OSError, ValueError) as error:
            raise storage_error(self.target, f"{POINTER} cannot be read", error) from error
        if stored is None:
            return Seen({"format": FORMAT, "version": 0, "partitions": {}, "files": []}, None)
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise storage_error(self.target, f"{POINTER} is not one of batchdeploy's", document)
        return Seen(document, stored.token)

    def replace(self, seen: Seen, document: dict[str, Any]) -> bool:
        """Replaces the pointer if it is still the one in ``seen``; otherwise returns False.

        Raises:
            OSError: the outcome is unknown, because the response may have been lost.
        """
        content = json.dumps(document, separators=(",", ":")).encode()
        if seen.token is None:
            return self.storage.create(POINTER, content)
        return self.storage.swap(POINTER, content, seen.token)

    def write(self, path: str, text: str) -> None:
        """Stores text under a path that no other attempt uses."""
        try:
            write(self.storage, path, text.encode())
        except OSError as error:
            raise storage_error(self.target, f"{path} cannot be stored", error) from error

    def missing(self, paths: Iterable[str]) -> list[str]:
        """The paths that do not exist."""
        wanted = list(paths)
        stored = self._sizes(wanted)
        return [path for path in wanted if path not in stored]

    def text(self, path: str) -> str | None:
        """The text stored under a path, or None."""
        try:
            stored = self.storage.read(path)
        except OSError as error:
            raise storage_error(self.target, f"{path} cannot be read", error) from error
        return None if stored is None else stored.content.decode()

    def listed(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Each file below a prefix, with the time it was stored, in seconds since the epoch."""
        try:
            for entry in self.storage.list(prefix):
                yield entry.key, entry.modified
        except OSError as error:
            raise storage_error(self.target, f"{prefix} cannot be listed", error) from error

    def delete(self, path: str) -> None:
        """Removes a file, if it exists."""
        try:
            self.storage.delete(path)
        except OSError as error:
            raise storage_error(self.target, f"{path} cannot be removed", error) from error

    def sync_folder(self, path: str) -> None:
        """Makes the names of a folder's files, and its own, survive a power cut, in a table in a folder.

        Raises:
            OSError: the disk failed.
        """
        folder = None if is_uri(self.target) else Path(self.target, path)
        while folder is not None and folder.is_dir() and folder != Path(self.target).parent:
            self._disk.sync_folder(folder)
            folder = folder.parent

    def _sizes(self, paths: Iterable[str]) -> dict[str, int]:
        """Path to size of all files in the folders of these paths."""
        folders = sorted({str(PurePosixPath(path).parent) for path in paths})
        try:
            return {entry.key: entry.size for folder in folders for entry in self.storage.list(folder)}
        except OSError as error:
            raise storage_error(self.target, f"{folders[0]} cannot be listed", error) from error


def open_files(target: str, control: ControlFolder, stores: StorageSpec = StorageSpec()) -> PointerFiles:
    """Opens the files of a table.

    Args:
        target: a URI, with credentials from the environment, or a local folder.
        control: the table's control folder; its lock makes compare-and-swap in a local folder atomic.
        stores: how an object store is reached.

    Raises:
        PublishError: the object store cannot be opened.
    """
    return PointerFiles(open_location(target, stores, lock=control.lock, disk=control.disk), control.disk)
