"""Publishes by pointer: stores new files beside the old ones, and replaces the document that names them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from batchdeploy.core.layout import data_key, manifest_key
from batchdeploy.core.records import Plan, ScoredBatch
from batchdeploy.publishing.attempts import Attempts
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.evidence import EvidenceFolder
from batchdeploy.publishing.fence import check_fence, same_pins_came_first
from batchdeploy.publishing.generations import choose_generation
from batchdeploy.publishing.ownership import claim_table
from batchdeploy.publishing.pointer_commit import commit
from batchdeploy.publishing.pointer_document import ORPHAN_SECONDS, with_entry
from batchdeploy.publishing.pointer_files import PointerFiles
from batchdeploy.publishing.pointer_records import PointerRecords
from batchdeploy.publishing.pointer_table import PointerTable, record_in
from batchdeploy.publishing.refusals import gone, stale, translated
from batchdeploy.publishing.verification import verify
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
        attempts: its staging folders.
        evidence: stores the quarantined rows of an attempt.
    """

    def __init__(
        self,
        control: ControlFolder,
        files: PointerFiles,
        *,
        table: PointerTable,
        records: PointerRecords,
        attempts: Attempts,
        evidence: EvidenceFolder,
    ) -> None:
        self._layout = control.layout
        self._spec = control.spec
        self._files = files
        self._attempts = attempts
        self._evidence = evidence
        self._table = table
        self._records = records

    def publish(self, plan: Plan, scored: ScoredBatch, manifest: Callable[[], tuple[str, str]]) -> str:
        """Uploads the staged files, then replaces the pointer by one that names them.

        Raises, besides what `Publisher.publish` names:
            PublishError: the store refused, or did not say whether the pointer was replaced.
        """
        staged = self._layout.staged(scored.attempt)
        if (published := self._published_manifest(plan, scored.attempt)) is not None:
            return published
        try:
            schema = verify(staged, plan, scored)
        except OSError as error:
            raise translated(error, staged) from error
        began = time.time()
        keys = {file.path: data_key(plan.folder, scored.attempt, file.path) for file in scored.files}
        self._files.upload({key: staged / path for path, key in keys.items()})
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
                lambda old: self._named(old, plan, (entry, schema), began),
            )
        except _SameRun:
            published = self._published_manifest(plan, scored.attempt)
            if published is None:
                raise stale(plan.folder, plan.base_run, self._table.published_run(plan.folder)) from None
            return published
        self._records.write_published(plan.folder, entry, text)
        self._attempts.discard(scored.attempt)
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
        self, document: dict[str, Any], plan: Plan, staged: tuple[dict[str, Any], pa.Schema], began: float
    ) -> dict[str, Any]:
        """The document with the run's files added, after the fence was checked."""
        entry, schema = staged
        before = document["partitions"].get(plan.folder)
        found = None if before is None else before["run_id"]
        if same_pins_came_first(plan, found):
            raise _SameRun
        check_fence(plan.folder, expected_run=plan.base_run, found=found)
        if time.time() - began > ORPHAN_SECONDS / 2:
            hint = "nothing was published; run it again"
            raise storage_error(
                plan.folder, "its files were stored so long ago that they may be gone", None, hint=hint
            )
        table = claim_table(self._files.target, record_in(self._files, document), plan, schema)
        made = with_entry(document, plan.folder, entry, self._spec)
        return made if table is None else made | {"table": json.loads(table)}
