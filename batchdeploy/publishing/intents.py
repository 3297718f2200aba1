"""Intents: the write-ahead records of publishes and rollbacks."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.storage.failpoints import hit


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """The data to complete a publish or a rollback.

    Attributes:
        action: the action in the audit log.
        attempt: the name of the intent, and for a publish of its staging folder.
        source: the folder to publish, below the control folder: a staged or a retired one.
        inode: the inode of that folder. After the swap the public folder has it, which tells another process
            that the swap is done.
        manifest: the manifest's JSON, written to the run's folder after the swap; a rollback has none.
        evidence: the attempt whose records the run's folder shows after the swap; empty for none.
        table: the table's new record as JSON; None if it does not change.
    """

    action: str = "publish"
    folder: str
    run_id: str
    attempt: str
    source: str
    inode: int
    replaced: str | None
    manifest: str | None
    published_at: str
    evidence: str = ""
    table: str | None = None


class IntentFiles:
    """The intents of one table, one file each; every method but `waiting` needs the table's lock."""

    def __init__(self, control: ControlFolder) -> None:
        self._layout = control.layout
        self._folder = control.layout.intents
        self._disk = control.disk

    def write(self, intent: Intent) -> None:
        """Writes the intent; after its rename the publish will be completed, by this or another process."""
        self._disk.write(self.file(intent), json.dumps(asdict(intent)))
        hit("intent written")

    def read(self) -> list[Intent]:
        """All intents, sorted by attempt."""
        files = sorted(self._folder.glob("*.json"))
        return [Intent(**json.loads(file.read_text(encoding="utf-8"))) for file in files]

    def waiting(self) -> bool:
        """Whether there are intents or half-written files of them."""
        names = os.listdir(self._folder) if self._folder.is_dir() else ()
        return any(name.endswith((".json", ".tmp")) for name in names)

    def drop_half_written(self) -> None:
        """Removes half-written intents of publishers that died."""
        for file in sorted(self._folder.glob("*.tmp")):
            file.unlink(missing_ok=True)

    def remove(self, intent: Intent) -> None:
        """Removes an intent that was completed or withdrawn."""
        self.file(intent).unlink(missing_ok=True)
        self._disk.sync_folder(self._folder)

    def give_up(self, intent: Intent) -> None:
        """Renames an intent that cannot be completed, so that it can be investigated."""
        self.file(intent).rename(self.file(intent).with_suffix(".lost"))

    def file(self, intent: Intent) -> Path:
        """The path of an intent's file."""
        return self._layout.intent(intent.attempt)
