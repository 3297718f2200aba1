"""Publishes by pointer: replaces the document that names the visible files by one that names new ones."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from batchdeploy.core.layout import data_folder, data_key, manifest_key
from batchdeploy.core.records import Plan, ScoredBatch
from batchdeploy.errors import PublishError
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.evidence import EvidenceFolder
from batchdeploy.publishing.fence import check_fence, same_pins_came_first
from batchdeploy.publishing.generations import choose_generation
from batchdeploy.publishing.ownership import claim_table
from batchdeploy.publishing.pointer_attempts import AttemptRecord, PointerAttempts
from batchdeploy.publishing.pointer_commit import commit
from batchdeploy.publishing.pointer_document import ORPHAN_SECONDS, with_entry
from batchdeploy.publishing.pointer_files import PointerFiles
from batchdeploy.publishing.pointer_records import PointerRecords
from batchdeploy.publishing.pointer_table import PointerTable, record_in
from batchdeploy.publishing.refusals import gone, stale
from batchdeploy.publishing.verification import verify
from batchdeploy.storage.failpoints import hit
from batchdeploy.storage.object_storage import storage_error


class _SameRun(Exception):
    """Another run with the same pins was published first."""


class PointerPublisher:
    """Publishes to one table whose published files are named by ``current.json``.

    Args:
        control: the table's control folder.
        files: the table's files.
        table: the table, for reading.
        records: writes the records of published runs.
        attempts: its attempts.
        evidence: stores the quarantined rows of an attempt.
    """

    def __init__(
        self,
        control: ControlFolder,
        files: PointerFiles,
        *,
        table: PointerTable,
        records: PointerRecords,
        attempts: PointerAttempts,
        evidence: EvidenceFolder,
    ) -> None:
        self._spec = control.spec
        self._files = files
        self._attempts = attempts
        self._evidence = evidence
        self._table = table
        self._records = records

    def publish(self, plan: Plan, scored: ScoredBatch, manifest: Callable[[], tuple[str, str]]) -> str:
        """Replaces the pointer by one that names the files that the workers have stored.

        Raises, besides what `Publisher.publish` names:
            PublishError: the store refused, or did not say whether the pointer was replaced.
        """
        if (published := self._published_manifest(plan, scored.attempt)) is not None:
            return published
        attempt, schema = self._verified(plan, scored)
        keys = {file.path: data_key(plan.folder, scored.attempt, file.path) for file in scored.files}
        text, published_at = manifest()
        entry = {
            "run_id": plan.run_id,
            "attempt": scored.attempt,
            "published_at": published_at,
            "evidence": plan.attempt or scored.attempt,
            "manifest": manifest_key(plan.folder, scored.attempt),
            "files": [
                {"path": keys[file.path], "rows": file.rows, "size": file.size, "sha256": file.sha256}
                for file in scored.files
            ],
        }
        self._files.write(str(entry["manifest"]), text)
        # NOTE: must precede the commit: after it another publisher may own the partition.
        self._evidence.keep_quarantine(plan, scored.attempt)
        try:
            commit(
                self._files,
                scored.attempt,
                plan.folder,
                lambda old: self._named(old, plan, (entry, schema), attempt.begun),
                lambda: self._attempts.begin_commit(scored.attempt, attempt),
            )
        except _SameRun:
            published = self._published_manifest(plan, scored.attempt)
            if published is None:
                raise stale(plan.folder, plan.base_run, self._table.published_run(plan.folder)) from None
            return published
        hit("pointer replaced")
        self._records.write_published(plan.folder, entry, text)
        hit("records written")
        self._attempts.discard(scored.attempt)
        hit("staging removed")
        return text

    def roll_back(self, folder: str, *, to: str | None, expected_run: str | None, at: str) -> str:
        """Makes the pointer name an earlier generation's files again, as `Publisher.roll_back`.

        Raises, besides what `Publisher.roll_back` names:
            PartitionError: files of that generation were removed.
        """
        chosen: dict[str, Any] = {}

        def change(document: dict[str, Any]) -> dict[str, Any]:
            before = document["partitions"].get(folder)
            found = None if before is None else before["run_id"]
            check_fence(folder, expected_run=expected_run, found=found)
            earlier = () if before is None else before["earlier"]
            runs = tuple(entry["run_id"] for entry in earlier)
            run = choose_generation(folder, runs, published_run=expected_run, to=to)
            chosen.update(next(entry for entry in earlier if entry["run_id"] == run))
            if missing := self._files.missing(file["path"] for file in chosen["files"]):
                raise gone(folder, run, missing)
            return with_entry(document, folder, {**chosen, "rolled_back_at": at}, self._spec)

        commit(self._files, f"rollback {folder} {at}", folder, change)
        run = str(chosen["run_id"])
        self._records.write_rollback(folder, run, replaced=expected_run, at=at)
        return run

    def _verified(self, plan: Plan, scored: ScoredBatch) -> tuple[AttemptRecord, pa.Schema]:
        """The attempt and its columns, after the stored files were compared with what was scored."""
        folder = data_folder(plan.folder, scored.attempt)
        try:
            attempt = self._attempts.find(scored.attempt)
            if attempt is None:
                what, hint = "is no attempt in staging any more", "nothing was published; run it again"
                raise storage_error(scored.attempt, what, None, hint=hint)
            return attempt, verify(self._files.storage, folder, plan, scored, exact=False)
        except OSError as error:
            raise storage_error(self._files.target, f"{folder} cannot be checked", error) from error

    def _published_manifest(self, plan: Plan, attempt: str) -> str | None:
        """The manifest if this attempt, or another one with the same pins, is published; else None."""
        entry = self._table.entry(plan.folder)
        if entry is None or entry["run_id"] != plan.run_id:
            return None
        mine = entry["attempt"] == attempt
        if not mine and plan.run_id == plan.base_run:
            return None
        text = self._files.text(entry["manifest"])
        if text is not None and mine:
            self._records.write_published(plan.folder, entry, text)
        self._attempts.discard(attempt)
        return text

    def _named(
        self, document: dict[str, Any], plan: Plan, staged: tuple[dict[str, Any], pa.Schema], begun: float
    ) -> dict[str, Any]:
        """The document with the run's files added, after the fence was checked."""
        entry, schema = staged
        before = document["partitions"].get(plan.folder)
        found = None if before is None else before["run_id"]
        if same_pins_came_first(plan, found):
            raise _SameRun
        check_fence(plan.folder, expected_run=plan.base_run, found=found)
        if time.time() - begun > ORPHAN_SECONDS / 2:
            raise _too_old(plan.folder)
        table = claim_table(self._files.target, record_in(self._files, document), plan, schema)
        made = with_entry(document, plan.folder, entry, self._spec)
        return made if table is None else made | {"table": json.loads(table)}


def _too_old(folder: str) -> PublishError:
    """The error for an attempt whose files garbage collection may have removed."""
    what = "its scores were stored so long ago that they may be gone"
    return storage_error(folder, what, None, hint="nothing was published; run it again")
