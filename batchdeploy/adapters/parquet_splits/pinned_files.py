"""Opens pinned files so that the content that is read is the content that was pinned."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from batchdeploy.core.pins import FilePin, Identity, identity_of
from batchdeploy.core.work import Split
from batchdeploy.errors import DataError, Problem

# Paths here refer to the open file even if its name is taken by another. Not available on every system.
DESCRIPTORS = Path("/proc/self/fd")


@contextmanager
def open_pinned(file: FilePin | Split) -> Iterator[str]:
    """Yields a path that refers to the pinned file for as long as the context is open.

    The file must have the pinned inode, size and times, or else the pinned MD5. The context checks again at
    its end.

    Raises:
        DataError: the file was replaced or written to.
    """
    with open(file.location, "rb") as stream:
        before = identity_of(os.fstat(stream.fileno()))
        if file.identity is not None and before != file.identity:
            digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
            if digest.hexdigest() != file.md5:
                raise _changed(file.path, "changed since it was pinned")
        opened = DESCRIPTORS / str(stream.fileno())
        yield str(opened) if opened.exists() else file.location
        if file.identity is not None and identity_of(os.fstat(stream.fileno())) != before:
            raise _changed(file.path, "changed while it was read")


@contextmanager
def watch_pinned_files(files: Sequence[FilePin]) -> Iterator[None]:
    """Checks pinned files before and after a process such as a JVM opens them by name.

    Each name must refer to the pinned file before and after, and neither the files nor their parent folders
    may be renamed in between.

    Raises:
        DataError: a file was replaced, written to, or renamed for a while.
    """
    # NOTE: must run before the content is checked, or a change in between would count as the first state.
    before = {file.location: identity_of(os.stat(file.location)) for file in files}
    folders = {folder for file in files for folder in Path(file.location).absolute().parents}
    states = {folder: identity_of(os.stat(folder)) for folder in folders}
    for file in files:
        with open_pinned(file):
            pass
    yield
    renamed = {folder for folder, state in states.items() if _was_renamed(folder, state)}
    for file in files:
        if _identity(file.location) != before[file.location] or renamed & {*Path(file.location).parents}:
            raise _changed(file.path, "changed while it was read")


def _was_renamed(folder: Path, before: Identity) -> bool:
    """Whether a name refers to another folder, or did so for a while.

    A new entry sets mtime and ctime of a folder to the same time; a rename sets only ctime.
    """
    inode, _, modified, changed = _identity(folder) or (0, 0, 0, 0)
    return inode != before[0] or changed not in (before[3], modified)


def _identity(place: str | Path) -> Identity | None:
    try:
        return identity_of(os.stat(place))
    except FileNotFoundError:
        return None


def _changed(path: str, what: str) -> DataError:
    return DataError(path, (Problem(path, what),), hint="run it again; nothing was published")
