"""Maintenance of a table that is published by swap."""

from __future__ import annotations

from contextlib import suppress

from batchdeploy.core.maintenance import CleanupReport
from batchdeploy.errors import PublishError
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.generations import Generations
from batchdeploy.publishing.journal import Journal
from batchdeploy.publishing.swap_table import SwapTable
from batchdeploy.publishing.trash import Trash


class SwapCleanup:
    """Completes intents, and removes generations past the retention.

    Args:
        control: the table's control folder.
        table: the table, for reading.
        journal: its intents.
        generations: its earlier generations.
        trash: receives expired generations.
    """

    def __init__(
        self,
        control: ControlFolder,
        table: SwapTable,
        *,
        journal: Journal,
        generations: Generations,
        trash: Trash,
    ) -> None:
        self._control = control
        self._table = table
        self._journal = journal
        self._generations = generations
        self._trash = trash

    def finish(self) -> tuple[str, ...]:
        """Completes the intents of dead publishers and returns the run ids."""
        return self._journal.finish_waiting()

    def prune(self, now: float) -> CleanupReport:
        """Moves all generations past the retention to the trash.

        Args:
            now: seconds since the epoch.
        """
        pruned: list[str] = []
        for folder in self._generations.folders():
            with self._control.lock():
                self._journal.settle(folder)
                gone = self._generations.prune(folder, self._table.published_run(folder), now)
                pruned += (f"{folder}/{run}" for run in gone)
        return CleanupReport(generations=tuple(pruned))

    def prune_partition(self, folder: str, now: float) -> None:
        """Removes a partition's generations past the retention; failures are left to `prune`.

        Args:
            folder: the partition's folder name.
            now: seconds since the epoch.
        """
        with suppress(OSError, PublishError):
            if self._generations.expired(folder, None, now):
                with self._control.lock():
                    self._generations.prune(folder, self._table.published_run(folder), now)
            self._trash.empty(now)
