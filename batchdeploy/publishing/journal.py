"""The journal of a swap: once an intent is on disk, this or any later process completes the publish."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from batchdeploy.core.layout import run_key
from batchdeploy.core.records import Manifest
from batchdeploy.publishing.audit import AuditLine, AuditLog
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.intents import Intent, IntentFiles
from batchdeploy.publishing.refusals import unfinished
from batchdeploy.publishing.run_evidence import RunEvidence
from batchdeploy.publishing.trash import Trash
from batchdeploy.storage.failpoints import hit
from batchdeploy.storage.files import exchange, move_new


class Journal:
    """Completes the intents of one table; every method but `finish_waiting` needs the table's lock.

    Args:
        control: the table's control folder.
        intents: the intents on disk.
        trash: receives replaced attempts at the same run.
    """

    def __init__(self, control: ControlFolder, intents: IntentFiles, trash: Trash) -> None:
        self._control = control
        self._layout = control.layout
        self._disk = control.disk
        self._intents = intents
        self._trash = trash
        self._evidence = RunEvidence(control)
        self._audit = AuditLog(control)

    def finish_waiting(self) -> tuple[str, ...]:
        """Completes the intents of dead publishers; takes the table's lock only if there are any.

        Returns:
            The run ids that were rolled forward.
        """
        if not self._intents.waiting():
            return ()
        with self._control.lock():
            return self.finish_all()

    def finish_all(self) -> tuple[str, ...]:
        """Completes the intents of dead runs, and removes their half-written intents.

        Returns:
            The run ids that were rolled forward.
        """
        finished = []
        self._intents.drop_half_written()
        for intent in self._intents.read():
            # An intent that cannot be completed (a read-only folder, a full disk) stays for later, and
            # must not block the others.
            with suppress(OSError):
                self.finish(intent)
                finished.append(intent.run_id)
        hit("dead runs finished")
        return tuple(finished)

    def settle(self, folder: str) -> None:
        """Completes the intents of dead runs, so that a partition can be published.

        Raises:
            PublishError: an intent for the partition cannot be completed.
        """
        self.finish_all()
        pending = next((intent.run_id for intent in self._intents.read() if intent.folder == folder), None)
        if pending is not None:
            raise unfinished(folder, pending)

    def decide(self, intent: Intent) -> None:
        """Writes an intent and completes it.

        Raises:
            OSError: the disk failed; the caller then tries to `withdraw` the intent.
        """
        self._intents.write(intent)
        self.finish(intent)

    def withdraw(self, intent: Intent) -> bool:
        """Removes an intent if its swap has not happened; returns whether it was removed."""
        visible = self._layout.partition_dir(intent.folder)
        try:
            swapped = visible.is_dir() and visible.stat().st_ino == intent.inode
            if swapped or not (self._layout.control / intent.source).is_dir():
                return False
            self._intents.remove(intent)
        except OSError:
            return not self._intents.file(intent).exists()
        return True

    def finish(self, intent: Intent) -> None:
        """Swaps, retires, moves the quarantine, writes the manifest, removes the intent. Safe to repeat."""
        layout = self._layout
        visible, source = layout.partition_dir(intent.folder), layout.control / intent.source
        if not visible.is_dir() or visible.stat().st_ino != intent.inode:
            if not source.is_dir():
                # The scores are neither staged nor public: somebody removed them. Log it in the audit,
                # and let the partition be scored again.
                self._write_audit(intent, action="lost")
                self._intents.give_up(intent)
                return
            if intent.table is not None:
                self._disk.write(layout.record, intent.table)
            self._swap(source, visible)
        hit("folders swapped")
        self._retire(intent, source)
        hit("old generation retired")
        quarantined = layout.staged_quarantine(intent.attempt)
        if quarantined.is_dir():
            self._move_over(quarantined, layout.quarantine(intent.folder, intent.run_id))
        hit("quarantine kept")
        self._evidence.show_published(intent.folder, intent.run_id, intent.evidence)
        if intent.manifest is not None:
            run = run_key(intent.folder, intent.run_id)
            self._control.records.write_text(run, Manifest, intent.manifest)
        hit("manifest written")
        self._write_audit(intent, action=intent.action)
        hit("audit written")
        self._intents.remove(intent)
        hit("intent removed")

    def _swap(self, source: Path, visible: Path) -> None:
        visible.parent.mkdir(parents=True, exist_ok=True)
        if visible.is_dir():
            exchange(source, visible)
        else:
            move_new(source, visible)
        self._disk.sync_folder(visible.parent)

    def _retire(self, intent: Intent, source: Path) -> None:
        """Retires the replaced folder, or discards it if it is another attempt at the same run."""
        if intent.replaced is None or not source.is_dir():
            return
        # The mtime becomes the time of retirement; after it, no new reader can find the folder.
        os.utime(source)
        if intent.replaced == intent.run_id:
            self._move_over(source, self._trash.new_name(intent.run_id))
        else:
            self._move_over(source, self._layout.retired(intent.folder, intent.replaced))

    def _move_over(self, source: Path, target: Path) -> None:
        """Moves a folder to a path; moves any folder there to the trash."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            self._trash.put(target, target.name)
        os.rename(source, target)
        self._disk.sync_folder(target.parent)

    def _write_audit(self, intent: Intent, *, action: str) -> None:
        self._audit.append(
            AuditLine(
                at=intent.published_at,
                action=action,
                partition=intent.folder,
                run_id=intent.run_id,
                attempt=intent.attempt,
                replaced=intent.replaced or "",
            )
        )
