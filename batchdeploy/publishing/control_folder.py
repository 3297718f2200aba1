"""The control folder of one table: its access rights, durable writes, and the table's lock."""

from __future__ import annotations

import stat
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial

from batchdeploy.core.deployment import PublishSpec
from batchdeploy.core.layout import Layout
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.host.file_modes import restrict_tree
from batchdeploy.storage.files import Disk
from batchdeploy.storage.interface import Storage
from batchdeploy.storage.locking import locked
from batchdeploy.storage.opening import open_location
from batchdeploy.storage.run_records import RunRecords


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlFolder:
    """The control folder, which all parts of publishing share.

    Attributes:
        layout: the table's folders.
        spec: the deployment's ``publish`` section.
        records: the records of the table's runs, for a caller that is the only one to write them: under the
            lock, or in its own attempt's folder.
        storage: the bytes below `records`, under the same condition.
        shared: the same bytes for writers that race, by `create` and `swap`; not under the lock.
    """

    layout: Layout
    spec: PublishSpec
    records: RunRecords
    storage: Storage
    shared: Storage

    @classmethod
    def of(
        cls,
        layout: Layout,
        spec: PublishSpec,
        records: RunRecords | None = None,
        *,
        stores: StorageSpec = StorageSpec(),
    ) -> ControlFolder:
        """The control folder of a table.

        Args:
            layout: the table's folders.
            spec: the deployment's ``publish`` section.
            records: the records that the caller uses; what was parsed through them is not parsed again.
            stores: how an object store is reached.
        """
        disk = Disk(spec.durability == "power")
        storage = open_location(layout.control_target, stores, disk=disk, alone=True)
        lock = partial(locked, layout, spec.lock_seconds)
        shared = open_location(layout.control_target, stores, lock=lock, disk=disk)
        own = RunRecords(storage) if records is None else records.through(storage)
        return cls(layout=layout, spec=spec, records=own, storage=storage, shared=shared)

    @property
    def remote(self) -> bool:
        """Whether the control folder is in an object store, where no lock is held."""
        return self.layout.control_uri is not None

    @property
    def disk(self) -> Disk:
        """A writer with the durability of ``publish.durability``."""
        return Disk(self.spec.durability == "power")

    def lock(self, seconds: float | None = None) -> AbstractContextManager[None]:
        """Holds the table's lock; in an object store, where there is none, does nothing.

        Args:
            seconds: the longest wait; None for ``publish.lock_seconds``.

        Raises:
            PublishError: another process still held the lock after the wait.
        """
        if self.remote:
            return nullcontext()
        return locked(self.layout, self.spec.lock_seconds if seconds is None else seconds)

    def protect(self) -> None:
        """Creates the control folder if it is missing, with the mode ``publish.control_mode``.

        The folder's mode protects the files in it; files that stay there get matching modes. Staged, retired
        and trashed scores keep theirs, because they were or will be public, as do files of another owner.
        """
        if self.remote:
            return
        mode = int(self.spec.control_mode, 8)
        layout, control = self.layout, self.layout.control
        with suppress(OSError):
            control.mkdir(mode, parents=True, exist_ok=True)
            if stat.S_IMODE(control.stat().st_mode) != mode:
                control.chmod(mode)
                restrict_tree(control, besides=(layout.staging, layout.trash, layout.retirement))
