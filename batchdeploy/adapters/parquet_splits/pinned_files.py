"""Opens pinned files so that the content that is read is the content that was pinned."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchdeploy.adapters.parquet_splits.parquet_files import PinnedInput
from batchdeploy.core.pins import FilePin, Identity, identity_of
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.core.work import Split
from batchdeploy.errors import DataError, Problem

# Paths here refer to the open file even if its name is taken by another. Not available on every system.
DESCRIPTORS = Path("/proc/self/fd")


class OpenedFile:
    """A local file that is held open, as a `PinnedInput`.

    Args:
        path: refers to the open file.
    """

    remote = False

    def __init__(self, path: str) -> None:
        self._path = path

    def open(self) -> Any:
        """A new seekable stream, as pyarrow takes it."""
        return pa.OSFile(self._path)


@contextmanager
def open_pinned(file: FilePin | Split, storage: StorageSpec | None = None) -> Iterator[PinnedInput]:
    """Yields the pinned content, which can be opened again for as long as the context is open.

    A local file must have the pinned inode, size and times, or else the pinned MD5; the context checks again
    at its end. Every read of an object is of its pinned state.

    Args:
        file: the pinned file or object.
        storage: how to reach an object's store; a split says so itself.

    Raises:
        DataError: the file was replaced or written to.
        SourceError: the store of an object failed.
    """
    if "://" in file.location and not file.location.startswith("/"):
        # NOTE: the object store's client is installed only with the extra `objects`.
        from batchdeploy.storage.object_inputs import PinnedObject

        given = file.storage if isinstance(file, Split) else storage
        yield PinnedObject(file, given or StorageSpec())
    else:
        with _open_local(file) as opened:
            yield opened


@contextmanager
def _open_local(file: FilePin | Split) -> Iterator[PinnedInput]:
    with open(file.location, "rb") as stream:
        before = identity_of(os.fstat(stream.fileno()))
        if file.identity is not None and before != file.identity:
            digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
            if digest.hexdigest() != file.md5:
                raise _changed(file.path, "changed since it was pinned")
        opened = DESCRIPTORS / str(stream.fileno())
        yield OpenedFile(str(opened) if opened.exists() else file.location)
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
