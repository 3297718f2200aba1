"""Pins local files by their MD5, without reading twice what did not change."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from batchdeploy.core.pins import FilePin, identity_of
from batchdeploy.errors import Problem

# FAT has the coarsest timestamps of the filesystems in use, with a resolution of two seconds.
SETTLED_NS = 3_000_000_000


class Identity(NamedTuple):
    """Device, inode, size and times of a file. A write changes them; git and DVC rely on them, too."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


class LocalFiles:
    """Pins files; one that was hashed before and has the same inode, size and times is not read again."""

    def __init__(self) -> None:
        self._hashed: dict[Path, tuple[Identity, str]] = {}

    def remember(self, file: Path, pin: FilePin) -> None:
        """Takes the MD5 of an earlier pin, if the file still has its inode, size and times."""
        with suppress(OSError):
            found = file.stat()
            if identity_of(found) == pin.identity:
                self._hashed[file] = _identity(found), pin.md5

    def pin(self, file: Path, key: str) -> FilePin:
        """The file by its MD5.

        Args:
            file: where it lies.
            key: its path relative to the data's.

        Raises:
            OSError: it cannot be read.
        """
        now = time.time_ns()
        # Opens the file first, because a network filesystem revalidates attributes on opening.
        with file.open("rb") as stream:
            before = _identity(os.fstat(stream.fileno()))
            known, md5 = self._hashed.get(file, (None, ""))
            if known != before:
                md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            # NOTE: a file rewritten within one clock tick looks the same; git calls this "racily clean".
            if max(before.changed, before.modified) < now - SETTLED_NS and _identity(file.stat()) == before:
                self._hashed[file] = before, md5
        return FilePin(
            path=key,
            md5=md5,
            size=before.size,
            location=str(file.resolve()),
            identity=(before.inode, before.size, before.modified, before.changed),
        )


def stray_problems(pinned: FilePin, folders: Iterable[Path]) -> Iterator[Problem]:
    """The problem of a link that leads neither into these folders nor to content named by its hash."""
    target = Path(pinned.location)
    by_content = (target.parent.name + target.name) == pinned.md5
    if not by_content and not any(target.is_relative_to(folder) for folder in folders):
        yield Problem(pinned.path, "is a link that leads out of the project", str(target))


def _identity(found: os.stat_result) -> Identity:
    return Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
