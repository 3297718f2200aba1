"""The sink of object stores and network filesystems: new files beside the old, and one pointer to them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pyarrow as pa

from batchdeploy.core.deployment import PublishSpec
from batchdeploy.core.layout import Layout
from batchdeploy.core.maintenance import CleanupReport
from batchdeploy.core.records import Plan, ScoredBatch
from batchdeploy.core.tables import TableRecord
from batchdeploy.documents import from_json
from batchdeploy.errors import PublishError
from batchdeploy.publishing.attempts import verify
from batchdeploy.publishing.generations import choose_generation
from batchdeploy.publishing.maintenance import remove_leftovers
from batchdeploy.publishing.ownership import claim_table, inferred
from batchdeploy.publishing.pointer_commit import commit
from batchdeploy.publishing.pointer_document import ORPHAN_SECONDS, paths_of, tells_of, with_entry
from batchdeploy.publishing.refusals import gone, stale, translated
from batchdeploy.publishing.staging import DEFAULT, StagingSink
from batchdeploy.storage.locking import locked
from batchdeploy.storage.objects import Objects, storage_error


class _SameRun(Exception):
    """Another run with the same pins was first."""


class PointerSink(StagingSink):
    """One table whose visible files are those that ``current.json`` names.

    Args:
        layout: the control folder.
        target: where the table is: a URI or a folder.
        spec: how to publish.
    """

    exchanging = False

    def __init__(self, layout: Layout, target: str, spec: PublishSpec = DEFAULT) -> None:
        super().__init__(layout, spec)
        self._objects = Objects(target, layout, self._disk, spec.lock_seconds)

    def published_run(self, folder: str) -> str | None:
        """The run that the pointer names for a partition, or None."""
        entry = self._entry(folder)
        return None if entry is None else str(entry["run_id"])

    def record(self) -> TableRecord | None:
        """Whose table it is and what its rows hold; None where nothing is published."""
        return self._remembered(self._objects.read().document)

    def attempt_of(self, folder: str) -> str | None:
        """The attempt whose files are visible."""
        entry = self._entry(folder)
        return None if entry is None else str(entry["attempt"])

    def published_partitions(self) -> tuple[str, ...]:
        """The folder names of all partitions that are visible."""
        return tuple(sorted(self._objects.read().document["partitions"]))

    def files(self, folder: str) -> tuple[str, ...]:
        """Where a partition's visible files are."""
        entry = self._entry(folder) or {"files": []}
        return tuple(f"{self._objects.target}/{file['path']}" for file in entry["files"])

    def recover(self, *, now: float) -> CleanupReport:
        """Writes the records of runs that died just after they were published; sweeps staging.

        Args:
            now: seconds since the epoch.
        """
        if not self._layout.control.is_dir():
            return CleanupReport()
        finished = []
        for folder, entry in self._objects.read().document["partitions"].items():
            file = self._layout.run(folder, entry["run_id"]) / "manifest.json"
            if not tells_of(file, entry["attempt"]) and (text := self._objects.text(entry["manifest"])):
                self._record(folder, entry, text)
                finished.append(entry["run_id"])
        try:
            return CleanupReport(finished=tuple(finished), attempts=self._attempts.sweep(now))
        except OSError as error:
            raise translated(error, self._layout.control) from error

    def publish(self, plan: Plan, scored: ScoredBatch, manifest: Callable[[], tuple[str, str]]) -> str:
        """Stores the staged files, and makes the pointer name them.

        Raises:
            StaleRunError: a run with other pins has published the partition since.
            TableError: the table is another deployment's, or has other columns.
            PublishError: the store refused, or nobody could say what became of the pointer.
        """
        staged = self._layout.staging / scored.attempt / "scored"
        if (told := self._told(plan, scored.attempt)) is not None:
            return told
        try:
            schema = verify(staged, plan, scored)
        except OSError as error:
            raise translated(error, staged) from error
        began = time.time()
        prefix = f"data/{plan.folder}/run={scored.attempt}"
        for file in scored.files:
            self._objects.upload(staged / file.path, f"{prefix}/{file.path}")
        text, published_at = manifest()
        entry = {
            "run_id": plan.run_id,
            "attempt": scored.attempt,
            "published_at": published_at,
            "evidence": plan.attempt or scored.attempt,
            "manifest": f"manifests/{plan.folder}/{scored.attempt}.json",
            "files": [
                {"path": f"{prefix}/{file.path}", "rows": file.rows, "size": file.size, "sha256": file.sha256}
                for file in scored.files
            ],
        }
        self._objects.write(str(entry["manifest"]), text)
        # NOTE: before the step, since nobody knows whose turn it is afterwards.
        self.keep_quarantine(plan, scored.attempt)
        try:
            commit(
                self._objects,
                scored.attempt,
                plan.folder,
                lambda old: self._named(old, plan, (entry, schema), began),
            )
        except _SameRun:
            told = self._told(plan, scored.attempt)
            if told is None:
                raise stale(plan.folder, plan.base_run, self.published_run(plan.folder)) from None
            return told
        self._record(plan.folder, entry, text)
        self._attempts.discard(scored.attempt)
        return text

    def generations(self, folder: str) -> tuple[str, ...]:
        """The run ids of a partition's earlier generations, the last that was visible first."""
        return tuple(earlier["run_id"] for earlier in (self._entry(folder) or {"earlier": []})["earlier"])

    def roll_back(self, folder: str, *, to: str | None, expected_run: str | None, at: str) -> str:
        """Makes the pointer name an earlier generation's files again.

        Args:
            folder: the partition's folder name.
            to: the run to go back to; None for the one before.
            expected_run: the run that is visible, as the caller saw it: the fence.
            at: the time, ISO 8601.

        Raises:
            PartitionError: there is no such generation.
            StaleRunError: another run has published the partition since.
        """
        chosen: dict[str, Any] = {}

        def change(document: dict[str, Any]) -> dict[str, Any]:
            before = document["partitions"].get(folder)
            found = None if before is None else before["run_id"]
            if found != expected_run:
                raise stale(folder, expected_run, found)
            earlier = () if before is None else before["earlier"]
            runs = tuple(entry["run_id"] for entry in earlier)
            run = choose_generation(folder, runs, published_run=expected_run, to=to)
            chosen.update(next(entry for entry in earlier if entry["run_id"] == run))
            if missing := self._objects.missing(file["path"] for file in chosen["files"]):
                raise gone(folder, run, missing)
            return with_entry(document, folder, {**chosen, "rolled_back_at": at}, self._spec)

        commit(self._objects, f"rollback {folder} {at}", folder, change)
        run = str(chosen["run_id"])
        self._audit(
            {"at": at, "action": "rollback", "partition": folder, "run_id": run, "replaced": expected_run}
        )
        return run

    def collect_garbage(self, *, now: float) -> CleanupReport:
        """All of `recover`, the files that no generation names any more, and leftovers on this machine.

        Args:
            now: seconds since the epoch.
        """
        cleaned = self.recover(now=now)
        document = self._objects.read().document
        partitions = document["partitions"].values()
        named = {path for p in partitions for entry in (p, *p["earlier"]) for path in paths_of(entry)}
        dropped = {path: one["since"] for one in document.get("dropped", ()) for path in one["paths"]}
        removed = []
        for prefix in ("data", "manifests"):
            for path, stored in self._objects.listed(prefix):
                since, grace = stored, max(ORPHAN_SECONDS, self._spec.reader_seconds)
                if path in dropped:
                    since, grace = dropped[path], self._spec.reader_seconds
                if path not in named and now - since > grace:
                    self._objects.delete(path)
                    removed.append(path)
        try:
            removed += remove_leftovers(self._layout, now)
        except OSError as error:
            raise translated(error, self._layout.control, hint="what is published is whole") from error
        return CleanupReport(finished=cleaned.finished, attempts=cleaned.attempts, leftovers=tuple(removed))

    def _remembered(self, document: dict[str, Any]) -> TableRecord | None:
        if not document["partitions"]:
            return None
        if "table" in document:
            return from_json(TableRecord, json.dumps(document["table"]), where=self._objects.target)
        folder, entry = max(document["partitions"].items())
        return inferred(self._objects.text(entry["manifest"]), folder, {})

    def _entry(self, folder: str) -> dict[str, Any] | None:
        found: dict[str, Any] = self._objects.read().document["partitions"]
        return found.get(folder)

    def _told(self, plan: Plan, attempt: str) -> str | None:
        """The manifest where this attempt, or another one at the same pins, is visible."""
        entry = self._entry(plan.folder)
        if entry is None or entry["run_id"] != plan.run_id:
            return None
        mine = entry["attempt"] == attempt
        if not mine and plan.run_id == plan.base_run:
            return None
        text = self._objects.text(entry["manifest"])
        if text is not None and mine:
            self._record(plan.folder, entry, text)
        self._attempts.discard(attempt)
        return text

    def _named(
        self, document: dict[str, Any], plan: Plan, staged: tuple[dict[str, Any], pa.Schema], began: float
    ) -> dict[str, Any]:
        """The document with the run's files in it, where the fence lets them."""
        entry, schema = staged
        before = document["partitions"].get(plan.folder)
        found = None if before is None else before["run_id"]
        if found == plan.run_id != plan.base_run:
            raise _SameRun
        if found != plan.base_run:
            raise stale(plan.folder, plan.base_run, found)
        if time.time() - began > ORPHAN_SECONDS / 2:
            hint = "nothing was published; run it again"
            raise storage_error(
                plan.folder, "its files were stored so long ago that they may be gone", None, hint=hint
            )
        table = claim_table(self._objects.target, self._remembered(document), plan, schema)
        made = with_entry(document, plan.folder, entry, self._spec)
        return made if table is None else made | {"table": json.loads(table)}

    def _record(self, folder: str, entry: dict[str, Any], manifest: str) -> None:
        """What the control folder keeps of a published run. The scores are out, whatever happens here."""
        line = {"at": entry["published_at"], "action": "publish", "partition": folder}
        line |= {"run_id": entry["run_id"], "attempt": entry["attempt"]}
        with suppress(OSError, PublishError), locked(self._layout, self._spec.lock_seconds):
            if not self._overtaken(folder, entry):
                self._standing.put(folder, entry["run_id"], entry.get("evidence", ""))
                self._standing.put_quarantine(folder, entry["run_id"], entry.get("evidence", ""))
                self._disk.write(self._layout.run(folder, entry["run_id"]) / "manifest.json", manifest)
            self._disk.append(self._layout.audit, json.dumps(line) + "\n")

    def _overtaken(self, folder: str, entry: dict[str, Any]) -> bool:
        """Whether another attempt at the same run was published after this one."""
        visible = self._entry(folder)
        known = [] if visible is None else [visible, *visible["earlier"]]
        return any(e["run_id"] == entry["run_id"] and e["attempt"] != entry["attempt"] for e in known)

    def _audit(self, line: dict[str, Any]) -> None:
        with suppress(OSError, PublishError), locked(self._layout, self._spec.lock_seconds):
            self._disk.append(self._layout.audit, json.dumps(line) + "\n")
