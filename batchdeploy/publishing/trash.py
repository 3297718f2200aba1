"""Folders that were taken out of reach: renamed first, deleted when no reader can still be reading them."""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from batchdeploy.publishing.control_folder import ControlFolder


class Trash:
    """The trash of one table.

    Readers that had opened a folder's files before it went may read for ``publish.reader_seconds`` more.
    """

    def __init__(self, control: ControlFolder) -> None:
        self._folder = control.layout.trash
        self._grace = control.spec.reader_seconds

    def put(self, path: Path, name: str) -> None:
        """Moves a folder to the trash.

        Args:
            path: the folder.
            name: what its name there begins with.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        os.rename(path, self.new_name(name))

    def new_name(self, name: str) -> Path:
        """A path in the trash that nothing has yet."""
        return self._folder / f"{name}-{uuid.uuid4().hex[:12]}"

    def unread(self, path: Path, now: float) -> bool:
        """Whether a folder is so long out of sight that nobody reads it; its mtime was set when it went."""
        return self._grace == 0 or now - path.stat().st_mtime >= self._grace

    def empty(self, now: float) -> None:
        """Deletes what nobody reads any more. Two processes may do so at once.

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
