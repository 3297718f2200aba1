"""The journal of a swap: once an intent is on disk, its run will be published, by whoever comes next."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from batchdeploy.adapters.parquet_sink.files import exchange, move_new, sync_folder, write_atomic
from batchdeploy.core.layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """All that is needed to finish a publish.

    Attributes:
        inode: of the staged folder; after the swap the public folder has it, which is how a second
            finisher knows that the swap was done.
        manifest: the manifest's JSON, written to the run's folder after the swap.
    """

    folder: str
    run_id: str
    attempt: str
    inode: int
    replaced: str | None
    manifest: str
    published_at: str


def write_intent(layout: Layout, intent: Intent) -> Path:
    """Puts the intent on disk; from its rename on the run counts as decided."""
    file = layout.intents / f"{intent.attempt}.json"
    write_atomic(file, json.dumps(asdict(intent)))
    return file


def finish_all(layout: Layout) -> tuple[str, ...]:
    """Finishes what dead runs left decided, drops what they left undecided; the lock must be held.

    Returns:
        The run ids that were rolled forward.
    """
    finished = []
    for file in sorted(layout.intents.glob("*.tmp")):
        file.unlink(missing_ok=True)
    for file in sorted(layout.intents.glob("*.json")):
        intent = Intent(**json.loads(file.read_text(encoding="utf-8")))
        # NOTE: one intent that cannot be finished (a read-only folder, a full disk) stays for later, and
        # must not keep the others, or other partitions, waiting.
        with suppress(OSError):
            finish(layout, intent, file)
            finished.append(intent.run_id)
    return tuple(finished)


def pending(layout: Layout, folder: str) -> str | None:
    """The run that was decided for a partition but could not be finished yet, or None."""
    for file in sorted(layout.intents.glob("*.json")):
        intent = Intent(**json.loads(file.read_text(encoding="utf-8")))
        if intent.folder == folder:
            return intent.run_id
    return None


def withdraw(layout: Layout, intent: Intent, file: Path) -> bool:
    """Takes an intent back whose swap has not happened; the lock must be held. Whether that was so."""
    live = layout.live(intent.folder)
    swapped = live.is_dir() and live.stat().st_ino == intent.inode
    if not swapped and (layout.staging / intent.attempt / "scored").is_dir():
        file.unlink(missing_ok=True)
        sync_folder(layout.intents)
        return True
    return False


def finish(layout: Layout, intent: Intent, file: Path) -> None:
    """Swap, retire, move the set-aside rows, write the manifest, forget the intent. Safe to repeat."""
    live = layout.live(intent.folder)
    attempt = layout.staging / intent.attempt
    staged = attempt / "scored"
    if not live.is_dir() or live.stat().st_ino != intent.inode:
        if not staged.is_dir():
            # NOTE: neither staged nor public: somebody removed the scores by hand. Nothing is left to do
            # but to say so and let the partition be scored again.
            _audit(layout, intent, action="lost")
            file.rename(file.with_suffix(".lost"))
            return
        layout.table.mkdir(parents=True, exist_ok=True)
        if live.is_dir():
            exchange(staged, live)
        else:
            move_new(staged, live)
        sync_folder(layout.table)
    if intent.replaced is not None and staged.is_dir():
        _move_over(staged, layout.retired(intent.folder, intent.replaced))
    if (attempt / "quarantine").is_dir():
        _move_over(attempt / "quarantine", layout.quarantine(intent.folder, intent.run_id))
    run = layout.run(intent.folder, intent.run_id)
    write_atomic(run / "manifest.json", intent.manifest)
    _audit(layout, intent, action="publish")
    file.unlink(missing_ok=True)
    sync_folder(layout.intents)
    shutil.rmtree(attempt, ignore_errors=True)


def _move_over(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    os.rename(source, target)
    sync_folder(target.parent)


def _audit(layout: Layout, intent: Intent, *, action: str) -> None:
    """One line for each publish; the line is there once even where the finish is repeated."""
    entry = {"at": intent.published_at, "action": action, "partition": intent.folder}
    entry |= {"run_id": intent.run_id, "attempt": intent.attempt, "replaced": intent.replaced or ""}
    line = json.dumps(entry) + "\n"
    with suppress(FileNotFoundError), layout.audit.open("rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - 64 * 1024))
        if line.encode() in stream.read():
            return
    with layout.audit.open("a", encoding="utf-8") as stream:
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())
