"""The storage of a local folder: a key is a file, replaced by renaming another over it."""

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
    """What lies below a folder.

    Args:
        root: the folder; it comes into being with the first key.
        lock: gives the lock under which `create` and `swap` compare and write; whoever holds it already
            must call neither.
        disk: how to write.
    """

    def __init__(self, root: Path, lock: Callable[[], AbstractContextManager[object]], disk: Disk) -> None:
        self.target = str(root)
        self._root = root
        self._lock = lock
        self._disk = disk

    def path(self, key: str) -> Path:
        """The file of a key.

        Raises:
            ValueError: the key leads out of the folder.
        """
        parts = PurePosixPath(key).parts
        if ".." in parts or key.startswith("/"):
            raise ValueError(f"{key!r} is no key")
        return self._root.joinpath(*parts)

    def read(self, key: str) -> Stored | None:
        """What is stored under a key; None where nothing is."""
        try:
            content = self.path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Stored(content, {"e_tag": hashlib.sha256(content).hexdigest()})

    def create(self, key: str, content: bytes) -> bool:
        """Stores the content where the key does not exist yet. Of several at once, one gets True."""
        file = self.path(key)
        make_folder(file.parent)
        with self._lock():
            if file.exists():
                return False
            self._disk.write(file, content)
            return True

    def swap(self, key: str, content: bytes, token: Token) -> bool:
        """Replaces the state that `read` gave with this token. False where it is another state by now."""
        with self._lock():
            seen = self.read(key)
            if seen is None or seen.token != dict(token):
                return False
            self._disk.write(self.path(key), content)
            return True

    def list(self, prefix: str) -> Iterator[Entry]:
        """All keys below a prefix of whole names, with what killed writers left (``NAME.tmp``)."""
        for folder, _, names in os.walk(self.path(prefix)):
            for name in names:
                file = Path(folder, name)
                # NOTE: others write and remove here meanwhile.
                with suppress(FileNotFoundError):
                    found = file.stat()
                    yield Entry(file.relative_to(self._root).as_posix(), found.st_size, found.st_mtime)

    def delete(self, key: str) -> None:
        """Removes a key, where it is still there."""
        self.path(key).unlink(missing_ok=True)

    def open_input(self, key: str) -> BinaryIO:
        """A stream to read from."""
        return self.path(key).open("rb")

    @contextmanager
    def open_output(self, key: str) -> Iterator[BinaryIO]:
        """Yields a stream to write to; several writers of one key do not meet, and the last one stays."""
        file = self.path(key)
        make_folder(file.parent)
        scratch = file.with_suffix(f".{uuid.uuid4().hex[:12]}.tmp")
        try:
            with scratch.open("xb") as stream:
                yield stream
            restrict(scratch)
            self._disk.sync_file(scratch)
            scratch.replace(file)
        except BaseException:
            with suppress(OSError):
                scratch.unlink(missing_ok=True)
            raise
        self._disk.sync_folder(file.parent)
