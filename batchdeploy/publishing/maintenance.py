"""Maintenance of one table: recovery after a kill, and garbage collection, in both modes."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from batchdeploy.core.layout import Layout
from batchdeploy.core.maintenance import CleanupReport
from batchdeploy.publishing.leftovers import remove_leftovers
from batchdeploy.publishing.refusals import translated
from batchdeploy.publishing.trash import Trash


class ModeCleanup(Protocol):
    """The part of maintenance that depends on how a table is published."""

    def finish(self) -> tuple[str, ...]:
        """Completes publishes of killed runs and returns their run ids."""
        ...

    def prune(self, now: float) -> CleanupReport:
        """Removes everything past its retention."""
        ...


class Sweeper(Protocol):
    """The part of a table's attempts that maintenance uses."""

    def sweep(self, now: float) -> tuple[str, ...]:
        """Removes the attempts of dead processes and returns their names."""
        ...


class TableMaintenance:
    """Maintains one table and its control folder.

    Args:
        layout: the table's folders.
        attempts: its attempts.
        trash: its trash.
        mode: the mode's part of maintenance.
    """

    def __init__(self, layout: Layout, *, attempts: Sweeper, trash: Trash, mode: ModeCleanup) -> None:
        self._layout = layout
        self._attempts = attempts
        self._trash = trash
        self._mode = mode

    def recover(self, *, now: float) -> CleanupReport:
        """Completes publishes of killed runs, and removes their staging folders.

        Args:
            now: seconds since the epoch.

        Raises:
            PublishError: the table's lock was not released in time, or the disk or the object store failed.
        """
        if self._layout.control_uri is None and not self._layout.control.is_dir():
            return CleanupReport()
        try:
            finished = self._mode.finish()
            self._trash.empty(now)
            return CleanupReport(finished=finished, attempts=self._attempts.sweep(now))
        except OSError as error:
            raise translated(error, self._layout.control_target) from error

    def collect_garbage(self, *, now: float) -> CleanupReport:
        """Does what `recover` does, and removes expired generations, unused caches and half-written records.

        Args:
            now: seconds since the epoch.

        Raises:
            PublishError: the table's lock was not released in time, or the disk or the object store failed.
        """
        cleaned = self.recover(now=now)
        try:
            pruned = self._mode.prune(now)
            self._trash.empty(now)
            leftovers = remove_leftovers(self._layout, now)
        except OSError as error:
            where = self._layout.control_target
            raise translated(error, where, hint="what is published is whole") from error
        return replace(
            cleaned,
            attempts=(*cleaned.attempts, *pruned.attempts),
            generations=pruned.generations,
            leftovers=(*pruned.leftovers, *leftovers),
        )
