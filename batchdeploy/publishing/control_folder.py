"""The control folder of one table: who may enter it, how to write there, and its lock."""

from __future__ import annotations

import stat
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

from batchdeploy.core.deployment import PublishSpec
from batchdeploy.core.layout import Layout
from batchdeploy.host.file_modes import restrict_tree
from batchdeploy.storage.files import Disk
from batchdeploy.storage.locking import locked


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlFolder:
    """What every part of publishing shares.

    Attributes:
        layout: the table's folders.
        spec: how to publish.
    """

    layout: Layout
    spec: PublishSpec

    @property
    def disk(self) -> Disk:
        """Writes as durable as ``publish.durability`` says."""
        return Disk(self.spec.durability == "power")

    def lock(self, seconds: float | None = None) -> AbstractContextManager[None]:
        """Holds the table's lock.

        Args:
            seconds: how long to wait for it; None for ``publish.lock_seconds``.

        Raises:
            PublishError: another process held it for so long.
        """
        return locked(self.layout, self.spec.lock_seconds if seconds is None else seconds)

    def protect(self) -> None:
        """Creates the control folder where it is missing, with the mode of ``publish.control_mode``.

        Only those who may enter the folder reach the files in it; the files that stay there get matching
        modes. Staged, retired and trashed scores keep theirs, since they were or will be public, and so do
        files of another owner.
        """
        mode = int(self.spec.control_mode, 8)
        layout, control = self.layout, self.layout.control
        with suppress(OSError):
            control.mkdir(mode, parents=True, exist_ok=True)
            if stat.S_IMODE(control.stat().st_mode) != mode:
                control.chmod(mode)
                restrict_tree(control, besides=(layout.staging, layout.trash, layout.retirement))
