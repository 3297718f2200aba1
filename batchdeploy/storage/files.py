"""Swapping folders, for which Python has no function, and files that survive a power cut."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import tempfile
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
    """Swaps two folders in one atomic step; both must exist, on one filesystem.

    Raises:
        OSError: EINVAL or ENOSYS where the filesystem or the kernel cannot.
    """
    _renameat2(first, second, RENAME_EXCHANGE)


def move_new(source: Path, target: Path) -> None:
    """Renames a folder to a name that must not exist yet, in one atomic step."""
    _renameat2(source, target, RENAME_NOREPLACE)


def can_exchange(folder: Path) -> bool:
    """Whether folders below this one can be exchanged; tried, not guessed."""
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
    """Writes that survive; what lies in a control folder is for those who may enter it.

    Attributes:
        power: whether they survive a power cut, or only the end of the process (much quicker on disks
            whose flush is slow).
    """

    power: bool = True

    def write(self, file: Path, content: str | bytes) -> None:
        """The whole content or nothing, under the file's name; for one writer at a time.

        What a killed writer leaves has the same name each time, so that the next one writes over it.
        """
        with self._whole(file) as scratch:
            scratch.write_bytes(content.encode() if isinstance(content, str) else content)

    def copy(self, source: Path, target: Path) -> None:
        """A whole copy or none, under the target's name; for one writer at a time."""
        with self._whole(target) as scratch:
            shutil.copyfile(source, scratch)

    def append(self, file: Path, line: str) -> None:
        """One more line at the end of a file."""
        with file.open("a", encoding="utf-8") as stream:
            restrict(file)
            stream.write(line)
            stream.flush()
            self._sync(stream.fileno())

    def sync_folder(self, folder: Path) -> None:
        """The names in a folder."""
        if not self.power:
            return
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def sync_file(self, file: Path) -> None:
        """The content of a file."""
        with file.open("rb") as stream:
            self._sync(stream.fileno())

    def sync_files(self, folder: Path) -> None:
        """The content of a folder's files."""
        for file in sorted(folder.iterdir()) if self.power and folder.is_dir() else ():
            if file.is_file():
                self.sync_file(file)

    def place(self, source: Path, target: Path) -> None:
        """The same file under another name as well, whole; what had that name is gone."""
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f"{target.name}.tmp")
        scratch.unlink(missing_ok=True)
        try:
            os.link(source, scratch)
        except OSError:
            # NOTE: not every filesystem has hard links, and not everybody may make them.
            shutil.copyfile(source, scratch)
        restrict(scratch)
        scratch.replace(target)

    @contextmanager
    def _whole(self, file: Path) -> Iterator[Path]:
        """A name to write under; what is there in the end gets the file's own, and lasts."""
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
