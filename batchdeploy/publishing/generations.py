"""Earlier generations of a partition: kept for a rollback, removed beyond the retention."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.refusals import no_generation
from batchdeploy.publishing.trash import Trash
from batchdeploy.storage.failpoints import hit


def choose_generation(
    folder: str, earlier: Sequence[str], *, published_run: str | None, to: str | None
) -> str:
    """The run that a rollback goes back to.

    Args:
        folder: the partition's folder name.
        earlier: what is kept, the last that was visible first.
        published_run: the run that is visible.
        to: the run that was asked for; None for the one before.

    Raises:
        PartitionError: there is no such generation.
    """
    kept = tuple(run for run in earlier if run != published_run)
    if not kept or (to is not None and to not in kept):
        raise no_generation(folder, to, kept)
    return to or kept[0]


class Generations:
    """What one table keeps beyond what is visible.

    Args:
        control: the table's control folder; its ``keep_generations`` earlier ones of a partition stay.
        trash: where the others go.
    """

    def __init__(self, control: ControlFolder, trash: Trash) -> None:
        self._layout = control.layout
        self._keep = control.spec.keep_generations
        self._trash = trash

    def of(self, folder: str) -> tuple[str, ...]:
        """The run ids of a partition's earlier generations, the last that was visible first."""
        retired = self._layout.retirement / folder
        with suppress(FileNotFoundError):
            with os.scandir(retired) as entries:
                times = {entry.name: entry.stat().st_mtime_ns for entry in entries}
            return tuple(sorted(times, key=lambda run: times[run], reverse=True))
        return ()

    def folders(self) -> tuple[str, ...]:
        """The partitions that have earlier generations."""
        retired = self._layout.retirement
        return tuple(sorted(os.listdir(retired))) if retired.is_dir() else ()

    def expired(self, folder: str, published_run: str | None, now: float) -> tuple[str, ...]:
        """The generations beyond the retention that no reader can still be reading.

        Args:
            folder: the partition's folder name.
            published_run: the visible run; a generation of the same run is of no use.
            now: seconds since the epoch.
        """
        runs = self.of(folder)
        kept = [run for run in runs if run != published_run][: self._keep]
        return tuple(
            run
            for run in runs
            if run not in kept and self._trash.unread(self._layout.retired(folder, run), now)
        )

    def prune(self, folder: str, published_run: str | None, now: float) -> tuple[str, ...]:
        """Moves the expired ones to the trash; the table's lock must be held.

        Returns:
            Their run ids.
        """
        gone = self.expired(folder, published_run, now)
        for run in gone:
            self._trash.put(self._layout.retired(folder, run), run)
        hit("old generations pruned")
        return gone
