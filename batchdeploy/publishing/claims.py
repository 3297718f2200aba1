"""Claims on partitions, for orchestrators that run the steps of a run as separate processes."""

from __future__ import annotations

from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.refusals import translated


class ClaimFiles:
    """The claims of one table: one file per partition, which contains the holder's name."""

    def __init__(self, control: ControlFolder) -> None:
        self._control = control

    def claim(self, folder: str, holder: str, *, expected_holder: str | None = None) -> str:
        """Claims a partition for a run; returns the holder, which is another run if the claim failed.

        Args:
            folder: the partition's folder name.
            holder: identifies the run, so that others can find out whether it is still running.
            expected_holder: a holder that is known to have ended, and whose claim is taken over.

        Raises:
            PublishError: the table's lock was not released in time, or the disk failed.
        """
        file = self._control.layout.claim(folder)
        self._control.protect()
        try:
            with self._control.lock():
                current = file.read_text(encoding="utf-8") if file.is_file() else None
                if current is not None and current not in (holder, expected_holder):
                    return current
                if current != holder:
                    self._control.disk.write(file, holder)
                return holder
        except OSError as error:
            raise translated(error, file) from error

    def release(self, folder: str, holder: str) -> None:
        """Releases this holder's claim on a partition.

        Raises:
            PublishError: the table's lock was not released in time, or the disk failed.
        """
        file = self._control.layout.claim(folder)
        try:
            with self._control.lock():
                if file.is_file() and file.read_text(encoding="utf-8") == holder:
                    file.unlink()
        except OSError as error:
            raise translated(error, file) from error
