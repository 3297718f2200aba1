"""Intents: what was decided to be published, on disk before it is done."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.storage.failpoints import hit


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """All that is needed to finish a publish or a rollback.

    Attributes:
        action: what the audit calls it.
        attempt: names the intent, and the staging folder of a publish.
        source: the folder to make public, below the control folder: a staged or a retired one.
        inode: of that folder; after the swap the public folder has it, which is how a second finisher
            knows that the swap was done.
        manifest: the manifest's JSON, written to the run's folder after the swap; a rollback has none.
        evidence: the attempt whose records the run's folder shows from then on; empty where there are none.
        table: the table's new record, as JSON; None where the record stays as it is.
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
    """The intents of one table, a file each; all but `waiting` needs the table's lock."""

    def __init__(self, control: ControlFolder) -> None:
        self._folder = control.layout.intents
        self._disk = control.disk

    def write(self, intent: Intent) -> None:
        """Puts the intent on disk; from its rename on the run counts as decided."""
        self._disk.write(self.file(intent), json.dumps(asdict(intent)))
        hit("intent written")

    def read(self) -> list[Intent]:
        """All intents, by attempt."""
        files = sorted(self._folder.glob("*.json"))
        return [Intent(**json.loads(file.read_text(encoding="utf-8"))) for file in files]

    def waiting(self) -> bool:
        """Whether there is anything to finish or to drop."""
        names = os.listdir(self._folder) if self._folder.is_dir() else ()
        return any(name.endswith((".json", ".tmp")) for name in names)

    def drop_half_written(self) -> None:
        """Removes the files of publishers that died before they had decided."""
        for file in sorted(self._folder.glob("*.tmp")):
            file.unlink(missing_ok=True)

    def remove(self, intent: Intent) -> None:
        """Forgets an intent that is finished or taken back."""
        self.file(intent).unlink(missing_ok=True)
        self._disk.sync_folder(self._folder)

    def give_up(self, intent: Intent) -> None:
        """Keeps an intent that cannot be finished for whoever looks into it, under another name."""
        self.file(intent).rename(self.file(intent).with_suffix(".lost"))

    def file(self, intent: Intent) -> Path:
        """Where an intent lies."""
        return self._folder / f"{intent.attempt}.json"
