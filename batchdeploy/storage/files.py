"""Atomic exchange of folders (`renameat2`, which Python lacks), and file writes that survive a power cut."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from batchdeploy.host.file_modes import restrict

AT_FDCWD = -100
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2


def exchange(first: Path, second: Path) -> None:
    """Swaps two existing folders on one filesystem atomically.

    Raises:
        OSError: EINVAL or ENOSYS if the filesystem or the kernel does not support it.
    """
    _renameat2(first, second, RENAME_EXCHANGE)


def move_new(source: Path, target: Path) -> None:
    """Renames a folder atomically; fails if the target exists."""
    _renameat2(source, target, RENAME_NOREPLACE)


def can_exchange(folder: Path) -> bool:
    """Whether folders below this one can be exchanged, found by trying it."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="probe-") as scratch:
        first, second = Path(scratch, "a"), Path(scratch, "b")
        first.mkdir()
        second.mkdir()
        (first / "mark").touch()
        try:
            exchange(first, second)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                return False
            raise
        return (second / "mark").exists()


@dataclass(frozen=True, slots=True)
class Disk:
    """Durable file writes, with the access rights of a control folder.

    Attributes:
        power: whether writes survive a power cut (fsync), or only the end of the process, which is much
            faster on disks with a slow flush.
    """

    power: bool = True

    def write(self, file: Path, content: str | bytes) -> None:
        """Writes a file atomically; one writer at a time.

        The temporary file has a fixed name, so that the next writer overwrites what a killed one left.
        """
        with self._whole(file) as scratch:
            scratch.write_bytes(content.encode() if isinstance(content, str) else content)

    def create(self, file: Path, content: bytes) -> bool:
        """Writes a file whole unless it exists; of several writers at once, one gets True."""
        scratch = file.with_name(f"{file.name}.{uuid.uuid4().hex[:12]}.tmp")
        try:
            scratch.write_bytes(content)
            restrict(scratch)
            self.sync_file(scratch)
            try:
                os.link(scratch, file)
            except FileExistsError:
                return False
            except OSError:
                # Some filesystems have no hard links.
                if file.exists():
                    return False
                scratch.replace(file)
        finally:
            with suppress(OSError):
                scratch.unlink(missing_ok=True)
        self.sync_folder(file.parent)
        return True

    def copy(self, source: Path, target: Path) -> None:
        """Copies a file atomically; one writer at a time."""
        with self._whole(target) as scratch:
            shutil.copyfile(source, scratch)

    def append(self, file: Path, line: str) -> None:
        """Appends to a file and syncs it."""
        with file.open("a", encoding="utf-8") as stream:
            restrict(file)
            stream.write(line)
            stream.flush()
            self._sync(stream.fileno())

    def sync_folder(self, folder: Path) -> None:
        """Syncs a folder's entries."""
        if not self.power:
            return
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def sync_file(self, file: Path) -> None:
        """Syncs a file's content."""
        with file.open("rb") as stream:
            self._sync(stream.fileno())

    def sync_files(self, folder: Path) -> None:
        """Syncs the content of the files directly in a folder."""
        for file in sorted(folder.iterdir()) if self.power and folder.is_dir() else ():
            if file.is_file():
                self.sync_file(file)

    def place(self, source: Path, target: Path) -> None:
        """Links a file to another name atomically, replacing any file there; copies if it cannot link."""
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f"{target.name}.tmp")
        scratch.unlink(missing_ok=True)
        try:
            os.link(source, scratch)
        except OSError:
            # Some filesystems have no hard links, and some users may not create them.
            shutil.copyfile(source, scratch)
        restrict(scratch)
        scratch.replace(target)

    @contextmanager
    def _whole(self, file: Path) -> Iterator[Path]:
        """Yields a temporary path; on success, fsyncs and renames it."""
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_name(f"{file.name}.tmp")
        try:
            yield scratch
            restrict(scratch)
            self.sync_file(scratch)
            scratch.replace(file)
        except OSError:
            with suppress(OSError):
                scratch.unlink(missing_ok=True)
            raise
        self.sync_folder(file.parent)

    def _sync(self, handle: int) -> None:
        if self.power:
            os.fsync(handle)


def _renameat2(source: Path, target: Path, flags: int) -> None:
    code = _function()(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags)
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(source), None, str(target))


@cache
def _function() -> Any:
    library = ctypes.CDLL(None, use_errno=True)
    try:
        function = library.renameat2
    except AttributeError:
        raise OSError(errno.ENOSYS, "the C library has no renameat2 (glibc 2.28 or newer has)") from None
    function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    function.restype = ctypes.c_int
    return function
