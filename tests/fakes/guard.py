"""A guard that raises if this process writes a file, for tests that must not."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.mkdir", "os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.truncate"}
_forbidden = False


class FileWrittenError(AssertionError):
    """A file was written although none may be."""


@contextmanager
def no_file_written() -> Iterator[None]:
    """Raises `FileWrittenError` if Python opens a file for writing or changes a folder.

    Garbage is not collected meanwhile: that of earlier tests may delete files when it is.
    """
    global _forbidden  # noqa: PLW0603
    _install()
    collects = gc.isenabled()
    gc.disable()
    _forbidden = True
    try:
        yield
    finally:
        _forbidden = False
        if collects:
            gc.enable()


@cache
def _install() -> None:
    # NOTE: an audit hook cannot be removed from a process.
    sys.addaudithook(_look)


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if not _forbidden:
        return
    if event == "open":
        path, mode, flags = arguments
        writes = bool(flags & WRITING) if isinstance(flags, int) else set(mode or "r") & set("wax+")
        # The first import of a module may write its bytecode.
        if writes and "__pycache__" not in str(path) and path != os.devnull:
            raise FileWrittenError(f"{path} was opened to be written")
    elif event in CHANGES and "__pycache__" not in str(arguments[0]):
        raise FileWrittenError(f"{event} {arguments[0]}")
