"""Earlier generations of a partition, which are kept for rollback and removed after the retention."""

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
    """The run that a rollback restores.

    Args:
        folder: the partition's folder name.
        earlier: the run ids of the earlier generations, newest first.
        published_run: the published run.
        to: the requested run; None for the previous one.

    Raises:
        PartitionError: the generation does not exist.
    """
    kept = tuple(run for run in earlier if run != published_run)
    if not kept or (to is not None and to not in kept):
        raise no_generation(folder, to, kept)
    return to or kept[0]


class Generations:
    """The earlier generations of one table.

    Args:
        control: the table's control folder, with ``keep_generations``.
        trash: receives expired generations.
    """

    def __init__(self, control: ControlFolder, trash: Trash) -> None:
        self._layout = control.layout
        self._keep = control.spec.keep_generations
        self._trash = trash

    def of(self, folder: str) -> tuple[str, ...]:
        """The run ids of a partition's earlier generations, newest first."""
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
        """The generations past the retention that no reader can still be reading.

        Args:
            folder: the partition's folder name.
            published_run: the published run; other generations of it are redundant.
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
        """Moves expired generations to the trash; the caller must hold the table's lock.

        Returns:
            Their run ids.
        """
        gone = self.expired(folder, published_run, now)
        for run in gone:
            self._trash.put(self._layout.retired(folder, run), run)
        hit("old generations pruned")
        return gone
