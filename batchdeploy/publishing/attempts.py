"""Attempts: a private staging folder for each try at a run, never used twice, swept when its process died."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.core.deployment import RESERVED
from batchdeploy.core.layout import Layout
from batchdeploy.core.records import OutputFile, Plan, ScoredBatch
from batchdeploy.core.work import SplitResult
from batchdeploy.errors import Problem, PublishError
from batchdeploy.host.file_modes import restrict
from batchdeploy.publishing.refusals import cannot_exchange
from batchdeploy.storage.failpoints import hit
from batchdeploy.storage.files import Disk, can_exchange
from batchdeploy.storage.locking import LivenessLock, try_lock, unlock

# NOTE: between the steps of an orchestrator an attempt has no process; only its age can condemn it.
ORPHAN_DAYS = 7


class Attempts:
    """The staging folders of one table.

    Args:
        layout: the table's folders.
        disk: how to write.
        exchanging: whether what is staged here will be exchanged with public folders.
    """

    def __init__(self, layout: Layout, disk: Disk, *, exchanging: bool = True) -> None:
        self._staging = layout.staging
        self._intents = layout.intents
        self._disk = disk
        self._exchanging = exchanging
        self._held: dict[str, LivenessLock] = {}

    def begin(self, run_id: str) -> Path:
        """A new folder, with this process's liveness lock beside it.

        Raises:
            PublishError: the filesystem cannot exchange folders, so nothing could be published later.
        """
        self._staging.mkdir(parents=True, exist_ok=True)
        # NOTE: whoever sweeps just then may look at a new liveness lock before its owner has it.
        name, life = "", None
        while life is None:
            name = f"{run_id}-{uuid.uuid4().hex[:12]}"
            life = try_lock(self._life(name))
        attempt = self._staging / name
        self._held[name] = life
        try:
            attempt.mkdir()
            (attempt / "scored").mkdir()
            if self._exchanging and not can_exchange(attempt):
                raise cannot_exchange(self._staging)
        except BaseException:
            self.discard(name)
            raise
        hit("attempt begun")
        return attempt

    def hand_over(self, name: str) -> None:
        """Lets another process go on with an attempt after this one has ended."""
        if (life := self._held.pop(name, None)) is not None:
            # NOTE: who sweeps may have seen the liveness lock, and come to it when it is gone.
            self._handed(name).touch()
            self._life(name).unlink(missing_ok=True)
            unlock(life)

    def discard(self, name: str) -> None:
        """Removes an attempt, unless it is decided already that it will be published."""
        if (self._intents / f"{name}.json").exists():
            return
        shutil.rmtree(self._staging / name, ignore_errors=True)
        # NOTE: a folder that would not go keeps its liveness lock, without a life: the next sweep takes both.
        if not (self._staging / name).exists():
            with suppress(OSError):
                self._handed(name).unlink(missing_ok=True)
                self._life(name).unlink(missing_ok=True)
        if (life := self._held.pop(name, None)) is not None:
            unlock(life)

    def sweep(self, now: float) -> tuple[str, ...]:
        """Removes what dead processes left, and what no process came back to for a week.

        Args:
            now: seconds since the epoch.
        """
        swept = []
        names = sorted(os.listdir(self._staging)) if self._staging.is_dir() else []
        for file in (self._staging / name for name in names if name.endswith(".alive")):
            if (life := try_lock(file)) is not None:
                if self._handed(file.stem).exists():
                    file.unlink(missing_ok=True)
                else:
                    self.discard(file.stem)
                    swept.append(file.stem)
                unlock(life)
        for attempt in (self._staging / name for name in names if not name.endswith((".alive", ".handed"))):
            # NOTE: other runs come and go here while we look.
            with suppress(FileNotFoundError):
                old = now - attempt.stat().st_mtime > ORPHAN_DAYS * 86_400
                if old and not self._life(attempt.name).exists():
                    self.discard(attempt.name)
                    swept.append(attempt.name)
        return tuple(swept)

    def _life(self, name: str) -> Path:
        return self._staging / f"{name}.alive"

    def _handed(self, name: str) -> Path:
        return self._staging / f"{name}.handed"

    def collect(
        self, attempt: Path, run_id: str, results: Sequence[SplitResult]
    ) -> tuple[tuple[OutputFile, ...], tuple[OutputFile, ...]]:
        """Gives the workers' files their final names, and drops every file that no result names.

        Returns:
            (scored files, quarantine files), in the order of the input.
        """
        kinds = {
            "scored": [result.scored for result in results if result.scored],
            "quarantine": [result.quarantine for result in results if result.quarantine],
        }
        collected = {}
        for kind, files in kinds.items():
            folder = attempt / kind
            told = {file.path for file in files}
            for name in os.listdir(folder) if folder.is_dir() else ():
                if name not in told:
                    (folder / name).unlink()
            collected[kind] = tuple(
                _renamed(folder, file, f"part-{number:05d}-{run_id}.parquet")
                for number, file in enumerate(files)
            )
            if folder.is_dir():
                self._disk.sync_folder(folder)
        # NOTE: the scores become public files; quarantined rows never do.
        restrict(*(attempt / "quarantine" / file.path for file in collected["quarantine"]))
        hit("files collected")
        return collected["scored"], collected["quarantine"]


def verify(staged: Path, plan: Plan, scored: ScoredBatch) -> pa.Schema:
    """From listing and footers alone: the files are those that were scored, with those rows and columns.

    Returns:
        The schema that all of them have.

    Raises:
        PublishError: with every difference.
    """
    ref = plan.deployment.output
    columns = [*plan.deployment.data.keys, *ref.keep, *ref.columns, *RESERVED]
    expected = {file.path: (file.rows, file.size) for file in scored.files}
    problems: list[Problem] = []
    schemas: set[pa.Schema] = set()
    for name in sorted({*os.listdir(staged), *expected}):
        try:
            with pq.ParquetFile(staged / name) as opened:
                found = (opened.metadata.num_rows, (staged / name).stat().st_size)
                schema = opened.schema_arrow.remove_metadata()
        except (pa.ArrowException, FileNotFoundError) as error:
            problems.append(Problem(name, "cannot be read", str(error)))
            continue
        schemas.add(schema)
        if found != expected.get(name):
            problems.append(Problem(name, f"expected (rows, bytes) {expected.get(name)}", str(found)))
        if schema.names != columns:
            problems.append(Problem(name, f"expected the columns {', '.join(columns)}", str(schema.names)))
    if len(schemas) > 1:
        problems.append(Problem("columns", "are not of the same types in all files"))
    if problems:
        raise PublishError("the staged files", tuple(problems), hint="nothing was published")
    hit("files verified")
    return schemas.pop() if schemas else pa.schema([])


def _renamed(folder: Path, file: OutputFile, name: str) -> OutputFile:
    os.rename(folder / file.path, folder / name)
    return OutputFile(path=name, rows=file.rows, size=file.size, sha256=file.sha256)
