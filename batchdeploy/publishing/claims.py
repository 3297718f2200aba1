"""Claims: which run has its turn at a partition, where the steps of a run are separate processes."""

from __future__ import annotations

from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.refusals import translated


class ClaimFiles:
    """The claims of one table: a file a partition, with the holder's name in it."""

    def __init__(self, control: ControlFolder) -> None:
        self._control = control

    def claim(self, folder: str, holder: str, *, expected_holder: str | None = None) -> str:
        """Takes a partition for a run; gives who holds it then.

        Args:
            folder: the partition's folder name.
            holder: names the run, for whoever wants to know whether it is still at work.
            expected_holder: a holder that is known to have ended; only that one's claim is taken over.

        Raises:
            PublishError: the lock stayed taken, or the disk refused.
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
        """Gives a partition back that this holder had claimed.

        Raises:
            PublishError: the lock stayed taken, or the disk refused.
        """
        file = self._control.layout.claim(folder)
        try:
            with self._control.lock():
                if file.is_file() and file.read_text(encoding="utf-8") == holder:
                    file.unlink()
        except OSError as error:
            raise translated(error, file) from error
