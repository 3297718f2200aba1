"""The control folder of one table: its access rights, durable writes, and the table's lock."""

from __future__ import annotations

import stat
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass

from batchdeploy.core.deployment import PublishSpec
from batchdeploy.core.layout import Layout
from batchdeploy.host.file_modes import restrict_tree
from batchdeploy.storage.files import Disk
from batchdeploy.storage.folder_storage import FolderStorage
from batchdeploy.storage.locking import locked
from batchdeploy.storage.run_records import RunRecords


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlFolder:
    """The control folder, which all parts of publishing share.

    Attributes:
        layout: the table's folders.
        spec: the deployment's ``publish`` section.
        records: the records of the table's runs, for a caller that is the only one to write them: under the
            lock, or in its own attempt's folder.
    """

    layout: Layout
    spec: PublishSpec
    records: RunRecords

    @classmethod
    def of(cls, layout: Layout, spec: PublishSpec, records: RunRecords | None = None) -> ControlFolder:
        """The control folder of a table.

        Args:
            layout: the table's folders.
            spec: the deployment's ``publish`` section.
            records: the records that the caller uses; what was parsed through them is not parsed again.
        """
        disk = Disk(spec.durability == "power")
        storage = FolderStorage(layout.control, nullcontext, disk, alone=True)
        own = RunRecords(storage) if records is None else records.through(storage)
        return cls(layout=layout, spec=spec, records=own)

    @property
    def disk(self) -> Disk:
        """A writer with the durability of ``publish.durability``."""
        return Disk(self.spec.durability == "power")

    def lock(self, seconds: float | None = None) -> AbstractContextManager[None]:
        """Holds the table's lock.

        Args:
            seconds: the longest wait; None for ``publish.lock_seconds``.

        Raises:
            PublishError: another process still held the lock after the wait.
        """
        return locked(self.layout, self.spec.lock_seconds if seconds is None else seconds)

    def protect(self) -> None:
        """Creates the control folder if it is missing, with the mode ``publish.control_mode``.

        The folder's mode protects the files in it; files that stay there get matching modes. Staged, retired
        and trashed scores keep theirs, because they were or will be public, as do files of another owner.
        """
        mode = int(self.spec.control_mode, 8)
        layout, control = self.layout, self.layout.control
        with suppress(OSError):
            control.mkdir(mode, parents=True, exist_ok=True)
            if stat.S_IMODE(control.stat().st_mode) != mode:
                control.chmod(mode)
                restrict_tree(control, besides=(layout.staging, layout.trash, layout.retirement))
