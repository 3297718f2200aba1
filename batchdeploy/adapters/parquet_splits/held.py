"""A pinned file held: what is read is what was pinned, whatever takes its name meanwhile."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchdeploy.core.pins import FilePin, identity_of
from batchdeploy.core.work import Split
from batchdeploy.errors import DataError, Problem

# NOTE: names of what is open, not of what has the name by now; where there are none, the name has to do.
DESCRIPTORS = Path("/proc/self/fd")


@contextmanager
def held(file: FilePin | Split) -> Iterator[str]:
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


def _changed(path: str, what: str) -> DataError:
    return DataError(path, (Problem(path, what),), hint="run it again; nothing was published")
