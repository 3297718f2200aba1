"""The trash: folders that are renamed first, and deleted once no reader can still be reading them."""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from batchdeploy.publishing.control_folder import ControlFolder


class Trash:
    """The trash of one table.

    Readers that opened a folder's files before it was moved have ``publish.reader_seconds`` to finish.
    """

    def __init__(self, control: ControlFolder) -> None:
        self._folder = control.layout.trash
        self._grace = control.spec.reader_seconds

    def put(self, path: Path, name: str) -> None:
        """Moves a folder to the trash.

        Args:
            path: the folder.
            name: the prefix of its name in the trash.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        os.rename(path, self.new_name(name))

    def new_name(self, name: str) -> Path:
        """An unused path in the trash."""
        return self._folder / f"{name}-{uuid.uuid4().hex[:12]}"

    def unread(self, path: Path, now: float) -> bool:
        """Whether all readers must have finished; a folder's mtime is the time it was retired or moved."""
        return self._grace == 0 or now - path.stat().st_mtime >= self._grace

    def empty(self, now: float) -> None:
        """Deletes folders that no reader can be reading. Safe to call concurrently.

        Args:
            now: seconds since the epoch.
        """
        names = os.listdir(self._folder) if self._folder.is_dir() else []
        for path in (self._folder / name for name in names):
            with suppress(FileNotFoundError):
                if self.unread(path, now):
                    shutil.rmtree(path, ignore_errors=True)
        if names:
            with suppress(OSError):
                self._folder.rmdir()
