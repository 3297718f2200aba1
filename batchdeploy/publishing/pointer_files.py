"""The files of a table that is published by pointer, and the one document that names the visible ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.storage.folder_storage import FolderStorage
from batchdeploy.storage.interface import Storage, Token, write
from batchdeploy.storage.object_storage import ObjectStorage, storage_error

POINTER = "current.json"
FORMAT = "batchdeploy.pointer/1"
CHUNK = 2**20


class Seen(NamedTuple):
    """The pointer as it was read, and what tells this state from any other (None: no pointer)."""

    document: dict[str, Any]
    token: Token | None


class PointerFiles:
    """What one table stores; failures are `PublishError`, except where `replace` says otherwise.

    Args:
        storage: where the table is.
    """

    def __init__(self, storage: Storage) -> None:
        self.target = storage.target
        self.storage = storage

    def read(self) -> Seen:
        """The pointer; an empty one where nothing was ever published.

        Raises:
            PublishError: the storage does not answer, or holds something else under the pointer's name.
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
        """Puts another pointer in place of the one that was seen. False where it is another one by now.

        Raises:
            OSError: the outcome is unknown: the answer may have been lost on its way.
        """
        content = json.dumps(document, separators=(",", ":")).encode()
        if seen.token is None:
            return self.storage.create(POINTER, content)
        return self.storage.swap(POINTER, content, seen.token)

    def upload(self, files: Mapping[str, Path]) -> None:
        """Stores files under paths that no other attempt uses; the same again does no harm.

        Args:
            files: path in the table to the file on this machine.

        Raises:
            PublishError: one of them is not there whole afterwards.
        """
        for path, file in files.items():
            try:
                with file.open("rb") as source, self.storage.open_output(path) as target:
                    shutil.copyfileobj(source, target, CHUNK)
            except OSError as error:
                raise storage_error(self.target, f"{path} cannot be stored", error) from error
        stored = self._sizes(files)
        for path, file in files.items():
            if stored.get(path) != (size := file.stat().st_size):
                what = f"{path} is there with another size than {size}"
                raise storage_error(self.target, what, stored.get(path, "nothing"))

    def write(self, path: str, text: str) -> None:
        """Stores a text under a path that no other attempt uses."""
        try:
            write(self.storage, path, text.encode())
        except OSError as error:
            raise storage_error(self.target, f"{path} cannot be stored", error) from error

    def missing(self, paths: Iterable[str]) -> list[str]:
        """Those of the paths that nothing is stored under."""
        wanted = list(paths)
        stored = self._sizes(wanted)
        return [path for path in wanted if path not in stored]

    def text(self, path: str) -> str | None:
        """A stored text, or None."""
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
        """Removes a file, where it is still there."""
        try:
            self.storage.delete(path)
        except OSError as error:
            raise storage_error(self.target, f"{path} cannot be removed", error) from error

    def _sizes(self, paths: Iterable[str]) -> dict[str, int]:
        """Path to size of all that lies beside these paths."""
        folders = sorted({str(PurePosixPath(path).parent) for path in paths})
        try:
            return {entry.key: entry.size for folder in folders for entry in self.storage.list(folder)}
        except OSError as error:
            raise storage_error(self.target, f"{folders[0]} cannot be listed", error) from error


def open_files(target: str, control: ControlFolder) -> PointerFiles:
    """The files of a table.

    Args:
        target: a URI, whose credentials come from the environment, or a local folder.
        control: the table's control folder, whose lock makes compare-and-swap of a folder atomic.

    Raises:
        PublishError: the object store cannot be opened.
    """
    if "://" in target:
        return PointerFiles(ObjectStorage(target))
    return PointerFiles(FolderStorage(Path(target), partial(control.lock), control.disk))
