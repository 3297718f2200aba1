"""The journal of a swap: once an intent is on disk, its run will be published, by whoever comes next."""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from batchdeploy.core.layout import Layout
from batchdeploy.publishing.evidence import Standing
from batchdeploy.storage.failpoints import hit
from batchdeploy.storage.files import Disk, exchange, move_new

AUDIT_TAIL = 64 * 1024


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
        table: what the table remembers from then on, as JSON; None where nothing of it changes.
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


class Journal:
    """The intents of one table; all but reading needs the table's lock."""

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._layout = layout
        self._disk = disk
        self._standing = Standing(layout, disk)

    def write(self, intent: Intent) -> None:
        """Puts the intent on disk; from its rename on the run counts as decided."""
        self._disk.write(self._file(intent), json.dumps(asdict(intent)))
        hit("intent written")

    def waiting(self) -> bool:
        """Whether there is anything to finish or to drop."""
        folder = self._layout.intents
        return folder.is_dir() and any(name.endswith((".json", ".tmp")) for name in os.listdir(folder))

    def pending(self, folder: str) -> str | None:
        """The run that was decided for a partition but could not be finished yet, or None."""
        return next((intent.run_id for intent in self._read() if intent.folder == folder), None)

    def finish_all(self) -> tuple[str, ...]:
        """Finishes what dead runs left decided, drops what they left undecided.

        Returns:
            The run ids that were rolled forward.
        """
        finished = []
        for file in sorted(self._layout.intents.glob("*.tmp")):
            file.unlink(missing_ok=True)
        for intent in self._read():
            # NOTE: one intent that cannot be finished (a read-only folder, a full disk) stays for later,
            # and must not keep the others, or other partitions, waiting.
            with suppress(OSError):
                self.finish(intent)
                finished.append(intent.run_id)
        hit("dead runs finished")
        return tuple(finished)

    def withdraw(self, intent: Intent) -> bool:
        """Takes an intent back whose swap has not happened. Whether that was so."""
        visible = self._layout.partition_dir(intent.folder)
        try:
            swapped = visible.is_dir() and visible.stat().st_ino == intent.inode
            if swapped or not (self._layout.control / intent.source).is_dir():
                return False
            self._file(intent).unlink(missing_ok=True)
            self._disk.sync_folder(self._layout.intents)
        except OSError:
            return not self._file(intent).exists()
        return True

    def finish(self, intent: Intent) -> None:
        """Swap, retire, move the quarantined rows, write the manifest, forget the intent. Safe to repeat."""
        layout = self._layout
        visible, source = layout.partition_dir(intent.folder), layout.control / intent.source
        if not visible.is_dir() or visible.stat().st_ino != intent.inode:
            if not source.is_dir():
                # NOTE: neither staged nor public: somebody removed the scores by hand. Nothing is left to
                # do but to say so and let the partition be scored again.
                self._audit(intent, action="lost")
                self._file(intent).rename(self._file(intent).with_suffix(".lost"))
                return
            if intent.table is not None:
                self._disk.write(layout.record, intent.table)
            self._swap(source, visible)
        hit("folders swapped")
        self._retire(intent, source)
        hit("old generation retired")
        quarantined = layout.staging / intent.attempt / "quarantine"
        if quarantined.is_dir():
            self._move_over(quarantined, layout.quarantine(intent.folder, intent.run_id))
        hit("quarantine kept")
        self._standing.put(intent.folder, intent.run_id, intent.evidence)
        if intent.manifest is not None:
            self._disk.write(layout.run(intent.folder, intent.run_id) / "manifest.json", intent.manifest)
        hit("manifest written")
        self._audit(intent, action=intent.action)
        hit("audit written")
        self._file(intent).unlink(missing_ok=True)
        self._disk.sync_folder(layout.intents)
        hit("intent removed")

    def _swap(self, source: Path, visible: Path) -> None:
        visible.parent.mkdir(parents=True, exist_ok=True)
        if visible.is_dir():
            exchange(source, visible)
        else:
            move_new(source, visible)
        self._disk.sync_folder(visible.parent)

    def _retire(self, intent: Intent, source: Path) -> None:
        """Keeps what was public; an earlier try at the same pins is no generation of its own."""
        if intent.replaced is None or not source.is_dir():
            return
        # NOTE: its time says from when on no new reader can find it.
        os.utime(source)
        if intent.replaced == intent.run_id:
            self._move_over(source, self._layout.trash / f"{intent.run_id}-{uuid.uuid4().hex[:12]}")
        else:
            self._move_over(source, self._layout.retired(intent.folder, intent.replaced))

    def _move_over(self, source: Path, target: Path) -> None:
        """Moves a folder to a name; what had that name goes to the trash."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            self._layout.trash.mkdir(parents=True, exist_ok=True)
            os.rename(target, self._layout.trash / f"{target.name}-{uuid.uuid4().hex[:12]}")
        os.rename(source, target)
        self._disk.sync_folder(target.parent)

    def _audit(self, intent: Intent, *, action: str) -> None:
        """One line for each publish; the line is there once even where the finish is repeated."""
        entry = {"at": intent.published_at, "action": action, "partition": intent.folder}
        entry |= {"run_id": intent.run_id, "attempt": intent.attempt, "replaced": intent.replaced or ""}
        line = json.dumps(entry) + "\n"
        tail = b""
        with suppress(FileNotFoundError), self._layout.audit.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - AUDIT_TAIL))
            tail = stream.read()
        if line.encode() not in tail:
            # NOTE: a full disk may have cut a line short; the next one must not run into it.
            cut = bool(tail) and not tail.endswith(b"\n")
            self._disk.append(self._layout.audit, ("\n" if cut else "") + line)

    def _file(self, intent: Intent) -> Path:
        return self._layout.intents / f"{intent.attempt}.json"

    def _read(self) -> list[Intent]:
        files = sorted(self._layout.intents.glob("*.json"))
        return [Intent(**json.loads(file.read_text(encoding="utf-8"))) for file in files]
