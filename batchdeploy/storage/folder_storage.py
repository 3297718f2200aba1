"""Storage in a local folder: a key is a file, replaced by an atomic rename."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from batchdeploy.host.file_modes import make_folder, restrict
from batchdeploy.storage.files import Disk
from batchdeploy.storage.interface import Entry, Stored, Token


class FolderStorage:
    """Storage below a folder; see `batchdeploy.storage.interface.Storage`.

    Args:
        root: the folder; created with the first key.
        lock: returns the lock under which `create` and `swap` compare and write. It is not reentrant: a
            caller that holds it must call neither.
        disk: writes the files.
        alone: whether no other process writes the same key at the same time. What a killed writer leaves has
            one name then, so that the next writer overwrites it.
    """

    def __init__(
        self,
        root: Path,
        lock: Callable[[], AbstractContextManager[object]],
        disk: Disk,
        *,
        alone: bool = False,
    ) -> None:
        self.target = str(root)
        self._root = root
        self._lock = lock
        self._disk = disk
        self._alone = alone

    def path(self, key: str) -> Path:
        """The path of a key's file.

        Raises:
            ValueError: the key is absolute or contains ``..``.
        """
        parts = PurePosixPath(key).parts
        if ".." in parts or key.startswith("/"):
            raise ValueError(f"{key!r} is no key")
        return self._root.joinpath(*parts)

    def read(self, key: str) -> Stored | None:
        """The content and token of a key; None if the key does not exist."""
        try:
            content = self.path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Stored(content, {"e_tag": hashlib.sha256(content).hexdigest()})

    def create(self, key: str, content: bytes) -> bool:
        """Stores the content if the key does not exist. Of concurrent callers, one gets True."""
        file = self.path(key)
        make_folder(file.parent)
        with self._lock():
            return not file.exists() and self._disk.create(file, content)

    def swap(self, key: str, content: bytes, token: Token) -> bool:
        """Replaces the content if the key still has this token, from `read`; otherwise returns False."""
        with self._lock():
            seen = self.read(key)
            if seen is None or seen.token != dict(token):
                return False
            self._disk.write(self.path(key), content)
            return True

    def list(self, prefix: str) -> Iterator[Entry]:
        """All keys below a prefix of whole path segments, with what killed writers left (``NAME.tmp``)."""
        for folder, _, names in os.walk(self.path(prefix)):
            for name in names:
                file = Path(folder, name)
                # Other processes create and remove files meanwhile.
                with suppress(FileNotFoundError):
                    found = file.stat()
                    yield Entry(file.relative_to(self._root).as_posix(), found.st_size, found.st_mtime)

    def copy(self, key: str, target: str) -> bool:
        """Gives the file of a key a second name, where the filesystem has hard links.

        That name survives a power cut once its folder is synced, and the content as it did before.
        """
        file, second = self.path(key), self.path(target)
        if not file.is_file():
            return False
        with suppress(OSError):
            if file.samefile(second):
                return True
        self._disk.place(file, second)
        return True

    def delete(self, key: str) -> None:
        """Removes a key, if it exists."""
        self.path(key).unlink(missing_ok=True)

    def open_input(self, key: str) -> BinaryIO:
        """Opens a key for reading."""
        return self.path(key).open("rb")

    @contextmanager
    def open_output(self, key: str) -> Iterator[BinaryIO]:
        """Yields a stream to write to; of concurrent writers of one key, the last to finish wins."""
        file = self.path(key)
        make_folder(file.parent)
        scratch = file.with_name(f"{file.name}.tmp")
        if not self._alone:
            scratch = file.with_suffix(f".{uuid.uuid4().hex[:12]}.tmp")
        try:
            with scratch.open("wb") as stream:
                yield stream
            restrict(scratch)
            self._disk.sync_file(scratch)
            scratch.replace(file)
        except BaseException:
            with suppress(OSError):
                scratch.unlink(missing_ok=True)
            raise
        self._disk.sync_folder(file.parent)
