"""Writes the records of runs that are published by pointer to the control folder."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from batchdeploy.core.layout import run_key
from batchdeploy.core.records import Manifest
from batchdeploy.errors import PublishError
from batchdeploy.publishing.audit import AuditLine, AuditLog
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.pointer_table import PointerTable
from batchdeploy.publishing.run_evidence import RunEvidence


class PointerRecords:
    """Writes records after a publish or rollback; a failure here does not undo it.

    Args:
        control: the table's control folder.
        table: the table, for reading.
    """

    def __init__(self, control: ControlFolder, table: PointerTable) -> None:
        self._control = control
        self._table = table
        self._evidence = RunEvidence(control)
        self._audit = AuditLog(control)

    def write_published(self, folder: str, entry: dict[str, Any], manifest: str) -> None:
        """Writes the manifest, the evidence and the audit line of a published run; safe to repeat.

        Args:
            folder: the partition's folder name.
            entry: the run's entry in the pointer.
            manifest: the manifest's JSON.
        """
        run, evidence = entry["run_id"], entry.get("evidence", "")
        line = AuditLine(
            at=entry["published_at"],
            action="publish",
            partition=folder,
            run_id=run,
            attempt=entry["attempt"],
        )
        with suppress(OSError, PublishError), self._control.lock():
            # The manifest is last: a run without it is completed by the next run, or by `recover`.
            self._audit.append(line)
            if not self._overtaken(folder, entry):
                self._evidence.show_published(folder, run, evidence)
                self._evidence.show_published_quarantine(folder, run, evidence)
                self._control.records.write_text(run_key(folder, run), Manifest, manifest)
                self._evidence.settle(folder, run, evidence)

    def write_rollback(self, folder: str, run_id: str, *, replaced: str | None, at: str) -> None:
        """Writes the audit line of a rollback.

        Args:
            folder: the partition's folder name.
            run_id: the restored run.
            replaced: the run that was published before.
            at: the time, ISO 8601.
        """
        line = AuditLine(at=at, action="rollback", partition=folder, run_id=run_id, replaced=replaced)
        with suppress(OSError, PublishError), self._control.lock():
            self._audit.append(line)

    def _overtaken(self, folder: str, entry: dict[str, Any]) -> bool:
        """Whether another attempt at the same run was published after this one."""
        visible = self._table.entry(folder)
        known = [] if visible is None else [visible, *visible["earlier"]]
        return any(e["run_id"] == entry["run_id"] and e["attempt"] != entry["attempt"] for e in known)
