"""Claims on partitions, for orchestrators that run the steps of a run as separate processes."""

from __future__ import annotations

from batchdeploy.core.layout import claim_key
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.refusals import translated
from batchdeploy.storage.races import compete


class ClaimFiles:
    """The claims of one table: one file per partition, which contains the holder's name.

    A claim changes hands by compare-and-swap, under the table's lock in a folder and by the store itself in a
    store: of contenders on any machines one succeeds. An empty file is a free claim, because no store removes
    a key only if it is unchanged.
    """

    def __init__(self, control: ControlFolder) -> None:
        self._control = control
        self._storage = control.shared

    def claim(self, folder: str, holder: str, *, expected_holder: str | None = None) -> str:
        """Claims a partition for a run; returns the holder, which is another run if the claim failed.

        Args:
            folder: the partition's folder name.
            holder: identifies the run, so that others can find out whether it is still running.
            expected_holder: a holder that is known to have ended, and whose claim is taken over.

        Raises:
            PublishError: the table's lock was not released in time, or the disk or store failed.
        """
        self._control.protect()
        return self._change(claim_key(folder), holder, free=("", holder, expected_holder))

    def release(self, folder: str, holder: str) -> None:
        """Releases this holder's claim on a partition.

        Raises:
            PublishError: the table's lock was not released in time, or the disk or store failed.
        """
        self._change(claim_key(folder), "", free=("", holder))

    def _change(self, key: str, holder: str, *, free: tuple[str | None, ...]) -> str:
        """Makes a claim the holder's if its present holder is one of ``free``; returns who holds it then."""
        try:
            return compete(lambda: self._try_change(key, holder, free), key)
        except OSError as error:
            raise translated(error, f"{self._storage.target}/{key}") from error

    def _try_change(self, key: str, holder: str, free: tuple[str | None, ...]) -> str | None:
        """Tries once; None if another process changed the claim meanwhile."""
        stored = self._storage.read(key)
        current = "" if stored is None else stored.content.decode()
        if current == holder or current not in free:
            return current
        content = holder.encode()
        if stored is None:
            done = self._storage.create(key, content)
        else:
            done = self._storage.swap(key, content, stored.token)
        return holder if done else None
