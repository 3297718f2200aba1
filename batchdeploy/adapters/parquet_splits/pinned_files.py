"""A pinned file held: what is read is what was pinned, whatever takes its name meanwhile."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from batchdeploy.core.pins import FilePin, Identity, identity_of
from batchdeploy.core.work import Split
from batchdeploy.errors import DataError, Problem

# Names of what is open, not of what has the name by now; where there are none, the name has to do.
DESCRIPTORS = Path("/proc/self/fd")


@contextmanager
def open_pinned(file: FilePin | Split) -> Iterator[str]:
    """The place to read a pinned file from: the file as it was opened here.

    It has to be the inode that was pinned, with its size and times; of another, or one that was touched, the
    MD5 has to be the pinned one. It is looked at again in the end.

    Raises:
        DataError: another file, or one that was written to.
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
    """Watches pinned files that somebody else opens by their names meanwhile, such as a JVM.

    Each name has to lead to what was pinned before and after, and neither the files nor the folders above
    them may have been renamed in between.

    Raises:
        DataError: another file, one that was written to, or one that was away for a while.
    """
    # NOTE: looked at before the content is, so that a change in between is not taken for the first state.
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
    """Whether a name leads to another folder, or has done so for a while.

    A new entry sets both times of a folder alike; a rename sets only the time of its last change.
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
