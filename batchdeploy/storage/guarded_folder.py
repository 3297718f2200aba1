"""Reads files of a folder for pages, where anybody may have put something else in their place."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

from batchdeploy.storage.files import Disk
from batchdeploy.storage.folder_storage import FolderStorage
from batchdeploy.storage.interface import Stored

# A report has some hundred kilobytes; another file must not fill a server's memory.
MAX_BYTES = 32 * 1024 * 1024


class GuardedFolder(FolderStorage):
    """The storage of a folder that reads regular files with one name only, up to 32 MiB.

    A link, a file with a second hard link, a named pipe and a larger file are as good as missing.

    Args:
        root: the folder, with links in its path resolved.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, nullcontext, Disk(power=False))

    def read(self, key: str) -> Stored | None:
        """The content of a key and its token; None if it does not exist or may not be read."""
        try:
            # NOTE: O_NONBLOCK, because opening a named pipe would block.
            opened = os.open(self.path(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        found = os.fstat(opened)
        # NOTE: a file with a second hard link may be anybody's.
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_size > MAX_BYTES:
            os.close(opened)
            return None
        with open(opened, "rb") as stream:
            content = stream.read(MAX_BYTES)
        return Stored(content, {"e_tag": hashlib.sha256(content).hexdigest()})

    def open_input(self, key: str) -> BinaryIO:
        """A stream to read from.

        Raises:
            FileNotFoundError: the key does not exist or may not be read.
        """
        stored = self.read(key)
        if stored is None:
            raise FileNotFoundError(key)
        return io.BytesIO(stored.content)
