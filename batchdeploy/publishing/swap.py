"""The sink of a local filesystem: the lock, the fence, the journal and the swap."""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from batchdeploy.core.deployment import PublishSpec
from batchdeploy.core.layout import Layout
from batchdeploy.core.maintenance import CleanupReport
from batchdeploy.core.records import Plan, ScoredBatch
from batchdeploy.core.tables import TableRecord
from batchdeploy.errors import Problem, PublishError
from batchdeploy.publishing.attempts import verify
from batchdeploy.publishing.generations import Generations, choose_generation
from batchdeploy.publishing.intents import Intent, Journal
from batchdeploy.publishing.maintenance import remove_leftovers
from batchdeploy.publishing.ownership import claim_table, read_table
from batchdeploy.publishing.refusals import (
    interrupted,
    same_filesystem,
    stale,
    translated,
    unfinished,
)
from batchdeploy.publishing.staging import DEFAULT, StagingSink
from batchdeploy.storage.failpoints import hit
from batchdeploy.storage.locking import locked

PUBLISHED_NAME = re.compile(r"part-\d{5,}-([0-9a-f]{16})\.parquet")


class ParquetSink(StagingSink):
    """One table on a local filesystem, its partitions swapped."""

    def __init__(self, layout: Layout, spec: PublishSpec = DEFAULT) -> None:
        super().__init__(layout, spec)
        self._journal = Journal(layout, self._disk)
        self._generations = Generations(layout, spec.keep_generations, spec.reader_seconds)

    def published_run(self, folder: str) -> str | None:
        """The run whose scores are visible in a partition's folder, by its file names.

        Raises:
            PublishError: the folder holds files of several runs, or files that no run wrote.
        """
        visible = self._layout.partition_dir(folder)
        try:
            names = sorted(os.listdir(visible))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise translated(error, visible) from error
        runs = {match[1] if (match := PUBLISHED_NAME.fullmatch(name)) else f"? {name}" for name in names}
        if len(runs) != 1 or any(run.startswith("?") for run in runs):
            got = ", ".join(sorted(runs)) or "nothing"
            raise PublishError(
                str(visible), (Problem(folder, "does not hold the files of exactly one run", got),)
            )
        return runs.pop()

    def record(self) -> TableRecord | None:
        """Whose table it is and what its rows hold; None where nothing is published."""
        folders, run = self.published_partitions(), None
        with suppress(PublishError):
            run = self.published_run(folders[-1]) if folders else None
        return read_table(self._layout, folders, run)

    def attempt_of(self, folder: str) -> str | None:
        """The visible folder's inode: a swap puts another one there, even for the same run."""
        try:
            return str(self._layout.partition_dir(folder).stat().st_ino)
        except OSError:
            return None

    def published_partitions(self) -> tuple[str, ...]:
        """The folder names of all partitions that are visible."""
        table = self._layout.table
        return tuple(sorted(path.name for path in table.glob("*=*"))) if table.is_dir() else ()

    def files(self, folder: str) -> tuple[str, ...]:
        """Where a partition's visible files are."""
        visible = self._layout.partition_dir(folder)
        return tuple(str(file) for file in sorted(visible.iterdir())) if visible.is_dir() else ()

    def recover(self, *, now: float) -> CleanupReport:
        """Finishes what dead publishers had decided, and removes what they left in staging.

        Args:
            now: seconds since the epoch.

        Raises:
            PublishError: the table stayed locked, or the disk refused.
        """
        if not self._layout.control.is_dir():
            return CleanupReport()
        try:
            finished = self._finish_waiting()
            self._generations.empty_trash(now)
            return CleanupReport(finished=finished, attempts=self._attempts.sweep(now))
        except OSError as error:
            raise translated(error, self._layout.control) from error

    def publish(self, plan: Plan, scored: ScoredBatch, manifest: Callable[[], tuple[str, str]]) -> str:
        """Makes the staged scores the visible ones of their partition.

        Args:
            plan: what was planned; its ``base_run`` is the fence.
            scored: what lies in staging.
            manifest: gives the manifest's JSON and the time of publishing; asked under the lock.

        Returns:
            The manifest's JSON: this run's, or that of the run with the same pins that came first.

        Raises:
            StaleRunError: a run with other pins has published the partition since.
            TableError: the table is another deployment's, or has other columns.
            PublishError: the table stayed locked, or the disk refused.
        """
        staged = self._layout.staging / scored.attempt / "scored"
        run = self._layout.run(plan.folder, plan.run_id)
        try:
            if (text := self._decided_before(run, scored.attempt)) is not None:
                self._tidy(plan.folder, scored.attempt)
                return text
            schema = verify(staged, plan, scored)
            self._disk.sync_files(run / "attempts" / plan.attempt if plan.attempt else run)
            with locked(self._layout, self._spec.lock_seconds):
                published = self._fenced(plan)
                if published is not None:
                    text = published
                else:
                    table = claim_table(str(self._layout.table), self.record(), plan, schema)
                    text, published_at = manifest()
                    same_filesystem(self._layout, plan.folder, staged)
                    self._decide(
                        Intent(
                            folder=plan.folder,
                            run_id=plan.run_id,
                            attempt=scored.attempt,
                            source=f"staging/{scored.attempt}/scored",
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

    def generations(self, folder: str) -> tuple[str, ...]:
        """The run ids of a partition's earlier generations, the last published first."""
        return self._generations.of(folder)

    def roll_back(self, folder: str, *, to: str | None, expected_run: str | None, at: str) -> str:
        """Makes an earlier generation the visible one again, in one atomic step.

        Args:
            folder: the partition's folder name.
            to: the run to go back to; None for the one before.
            expected_run: the run that is visible, as the caller saw it: the fence.
            at: the time, ISO 8601.

        Returns:
            The run that is visible now.

        Raises:
            PartitionError: there is no such generation.
            StaleRunError: another run has published the partition since.
        """
        try:
            with locked(self._layout, self._spec.lock_seconds):
                self._settle(folder)
                if (found := self.published_run(folder)) != expected_run:
                    raise stale(folder, expected_run, found)
                run = choose_generation(
                    folder, self._generations.of(folder), published_run=expected_run, to=to
                )
                source = self._layout.retired(folder, run)
                self._decide(
                    Intent(
                        action="rollback",
                        folder=folder,
                        run_id=run,
                        attempt=f"{run}-{uuid.uuid4().hex[:12]}",
                        source=str(source.relative_to(self._layout.control)),
                        inode=source.stat().st_ino,
                        replaced=expected_run,
                        manifest=None,
                        published_at=at,
                    )
                )
        except OSError as error:
            raise translated(error, self._layout.partition_dir(folder)) from error
        return run

    def collect_garbage(self, *, now: float) -> CleanupReport:
        """All of `recover`, and everything beyond the retention.

        Args:
            now: seconds since the epoch.
        """
        cleaned = self.recover(now=now)
        if not self._layout.control.is_dir():
            return cleaned
        try:
            pruned: list[str] = []
            for folder in self._generations.folders():
                with locked(self._layout, self._spec.lock_seconds):
                    self._settle(folder)
                    gone = self._generations.prune(folder, self.published_run(folder), now)
                    pruned += (f"{folder}/{run}" for run in gone)
            self._generations.empty_trash(now)
            leftovers = remove_leftovers(self._layout, now)
        except OSError as error:
            raise translated(error, self._layout.control, hint="what is published is whole") from error
        return CleanupReport(
            finished=cleaned.finished,
            attempts=cleaned.attempts,
            generations=tuple(pruned),
            leftovers=leftovers,
        )

    def _finish_waiting(self) -> tuple[str, ...]:
        """Finishes what dead publishers had decided; no lock is taken where there is nothing."""
        if not self._journal.waiting():
            return ()
        with locked(self._layout, self._spec.lock_seconds):
            return self._journal.finish_all()

    def _decided_before(self, run: Path, attempt: str) -> str | None:
        """The manifest where a publisher of this very attempt had decided, and then died or was cut off."""
        self._finish_waiting()
        file = run / "manifest.json"
        text = file.read_text(encoding="utf-8") if file.is_file() else None
        return text if text is not None and json.loads(text).get("attempt") == attempt else None

    def _fenced(self, plan: Plan) -> str | None:
        """The manifest where the same pins are published already; else None, and the way is free."""
        self._settle(plan.folder)
        found = self.published_run(plan.folder)
        file = self._layout.run(plan.folder, plan.run_id) / "manifest.json"
        if found == plan.run_id != plan.base_run and file.is_file():
            return file.read_text(encoding="utf-8")
        if found != plan.base_run:
            raise stale(plan.folder, plan.base_run, found)
        hit("fence passed")
        return None

    def _settle(self, folder: str) -> None:
        self._journal.finish_all()
        if (waiting := self._journal.pending(folder)) is not None:
            raise unfinished(folder, waiting)

    def _decide(self, intent: Intent) -> None:
        """Intent and swap; an error says whether anything became visible."""
        visible = self._layout.partition_dir(intent.folder)
        try:
            self._journal.write(intent)
            self._journal.finish(intent)
        except OSError as error:
            withdrawn = self._journal.withdraw(intent)
            swapped = False
            with suppress(OSError):
                swapped = visible.stat().st_ino == intent.inode
            raise interrupted(error, visible, withdrawn=withdrawn, swapped=swapped) from error

    def _tidy(self, folder: str, attempt: str) -> None:
        """After the lock: what no reader waits for. The scores are out, whatever happens here."""
        self._attempts.discard(attempt)
        hit("staging removed")
        now = time.time()
        with suppress(OSError, PublishError):
            if self._generations.surplus(folder, None, now):
                with locked(self._layout, self._spec.lock_seconds):
                    self._generations.prune(folder, self.published_run(folder), now)
            self._generations.empty_trash(now)
