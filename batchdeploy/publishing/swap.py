"""Publishes by swap: takes the lock, checks the fence, writes the intent, and exchanges two folders."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress

from batchdeploy.core.layout import retired_key, run_key, staged_key
from batchdeploy.core.records import Manifest, Plan, ScoredBatch
from batchdeploy.publishing.attempts import Attempts
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.fence import check_fence, same_pins_came_first
from batchdeploy.publishing.generations import choose_generation
from batchdeploy.publishing.intents import Intent
from batchdeploy.publishing.journal import Journal
from batchdeploy.publishing.ownership import claim_table
from batchdeploy.publishing.refusals import interrupted, no_generation, same_filesystem, translated
from batchdeploy.publishing.swap_cleanup import SwapCleanup
from batchdeploy.publishing.swap_table import SwapTable
from batchdeploy.publishing.verification import verify
from batchdeploy.storage.failpoints import hit


class SwapPublisher:
    """Publishes to one table on a local filesystem.

    Args:
        control: the table's control folder.
        table: the table, for reading.
        journal: its intents.
        attempts: its staging folders.
        cleanup: removes expired generations.
    """

    def __init__(
        self,
        control: ControlFolder,
        table: SwapTable,
        *,
        journal: Journal,
        attempts: Attempts,
        cleanup: SwapCleanup,
    ) -> None:
        self._control = control
        self._layout = control.layout
        self._table = table
        self._journal = journal
        self._attempts = attempts
        self._cleanup = cleanup

    def publish(self, plan: Plan, scored: ScoredBatch, manifest: Callable[[], tuple[str, str]]) -> str:
        """Swaps the staged folder with the partition's; the manifest is made under the table's lock.

        Raises, besides what `Publisher.publish` names:
            PublishError: the table stayed locked, or the disk refused.
        """
        staged = self._layout.staged(scored.attempt)
        try:
            if (text := self._decided_before(plan, scored.attempt)) is not None:
                self._tidy(plan.folder, scored.attempt)
                return text
            schema = verify(self._control.storage, staged_key(scored.attempt), plan, scored, exact=True)
            run = self._layout.run(plan.folder, plan.run_id)
            own = self._layout.attempt(plan.folder, plan.run_id, plan.attempt) if plan.attempt else run
            self._control.disk.sync_files(own)
            with self._control.lock():
                published = self._fenced(plan)
                if published is not None:
                    text = published
                else:
                    table = claim_table(str(self._layout.table), self._table.record(), plan, schema)
                    text, published_at = manifest()
                    same_filesystem(self._layout, plan.folder, staged)
                    self._decide(
                        Intent(
                            folder=plan.folder,
                            run_id=plan.run_id,
                            attempt=scored.attempt,
                            source=staged_key(scored.attempt),
                            inode=staged.stat().st_ino,
                            replaced=plan.base_run,
                            manifest=text,
                            published_at=published_at,
                            evidence=plan.attempt,
                            table=table,
                        )
                    )
        except OSError as error:
            raise translated(error, staged) from error
        self._tidy(plan.folder, scored.attempt)
        return text

    def roll_back(self, folder: str, *, to: str | None, expected_run: str | None, at: str) -> str:
        """Swaps a retired generation's folder with the partition's, as `Publisher.roll_back`."""
        if expected_run is None and not self._was_published(folder):
            # Refused before the lock is taken: its file would create the control folder.
            raise no_generation(folder, to, ())
        try:
            with self._control.lock():
                self._journal.settle(folder)
                check_fence(folder, expected_run=expected_run, found=self._table.published_run(folder))
                run = choose_generation(
                    folder, self._table.generations(folder), published_run=expected_run, to=to
                )
                source = self._layout.retired(folder, run)
                self._decide(
                    Intent(
                        action="rollback",
                        folder=folder,
                        run_id=run,
                        attempt=f"{run}-{uuid.uuid4().hex[:12]}",
                        source=retired_key(folder, run),
                        inode=source.stat().st_ino,
                        replaced=expected_run,
                        manifest=None,
                        published_at=at,
                    )
                )
        except OSError as error:
            raise translated(error, self._layout.partition_dir(folder)) from error
        return run

    def _was_published(self, folder: str) -> bool:
        return self._table.published_run(folder) is not None or bool(self._table.generations(folder))

    def _decided_before(self, plan: Plan, attempt: str) -> str | None:
        """The manifest if a process had written this attempt's intent before it died; else None."""
        self._journal.finish_waiting()
        records, run = self._control.records, run_key(plan.folder, plan.run_id)
        return records.find_text(run, Manifest) if records.find_attempt(run, Manifest) == attempt else None

    def _fenced(self, plan: Plan) -> str | None:
        """Checks the fence; returns the manifest if the same pins are already published, else None."""
        self._journal.settle(plan.folder)
        found = self._table.published_run(plan.folder)
        if same_pins_came_first(plan, found):
            text = self._control.records.find_text(run_key(plan.folder, plan.run_id), Manifest)
            if text is not None:
                return text
        check_fence(plan.folder, expected_run=plan.base_run, found=found)
        hit("fence passed")
        return None

    def _decide(self, intent: Intent) -> None:
        """Writes the intent and swaps; an error says whether anything was published."""
        visible = self._layout.partition_dir(intent.folder)
        try:
            self._journal.decide(intent)
        except OSError as error:
            withdrawn = self._journal.withdraw(intent)
            swapped = False
            with suppress(OSError):
                swapped = visible.stat().st_ino == intent.inode
            raise interrupted(error, visible, withdrawn=withdrawn, swapped=swapped) from error

    def _tidy(self, folder: str, attempt: str) -> None:
        """Cleans up after the lock is released; the scores are published even if this fails."""
        self._attempts.discard(attempt)
        hit("staging removed")
        self._cleanup.prune_partition(folder, time.time())
