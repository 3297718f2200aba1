"""The sink: staging, verification, the lock, the fence and the swap."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.adapters.parquet_sink.drift_table import write_table
from batchdeploy.adapters.parquet_sink.files import can_exchange, sync_folder, write_atomic
from batchdeploy.adapters.parquet_sink.intents import (
    Intent,
    finish,
    finish_all,
    pending,
    withdraw,
    write_intent,
)
from batchdeploy.adapters.parquet_sink.locking import locked
from batchdeploy.adapters.parquet_sink.refusals import (
    interrupted,
    same_filesystem,
    stale,
    translated,
    unfinished,
)
from batchdeploy.core.layout import Layout
from batchdeploy.core.records import DriftReport, OutputFile, Plan, ScoredBatch
from batchdeploy.core.work import SplitResult
from batchdeploy.errors import Problem, PublishError

PUBLISHED_NAME = re.compile(r"part-\d{5,}-([0-9a-f]{16})\.parquet")
LOCK_SECONDS = 60.0
STAGING_DAYS = 7


class ParquetSink:
    """One table on a local filesystem.

    Args:
        layout: the table's folders.
        lock_seconds: how long to wait for another publisher.
    """

    def __init__(self, layout: Layout, *, lock_seconds: float = LOCK_SECONDS) -> None:
        self._layout = layout
        self._lock_seconds = lock_seconds

    def live(self, folder: str) -> str | None:
        """The run whose scores are visible in a partition's folder, by its file names.

        Raises:
            PublishError: the folder holds files of several runs, or files that no run wrote.
        """
        live = self._layout.live(folder)
        if not live.is_dir():
            return None
        names = sorted(os.listdir(live))
        runs = {match[1] if (match := PUBLISHED_NAME.fullmatch(name)) else f"? {name}" for name in names}
        if len(runs) != 1 or any(run.startswith("?") for run in runs):
            got = ", ".join(sorted(runs)) or "nothing"
            raise PublishError(
                str(live), (Problem(folder, "does not hold the files of exactly one run", got),)
            )
        return runs.pop()

    def recover(self, *, now: float) -> tuple[str, ...]:
        """Rolls decided runs of dead publishers forward, and clears staging folders older than a week.

        Args:
            now: seconds since the epoch.

        Returns:
            The run ids that were rolled forward.
        """
        layout = self._layout
        if not layout.control.is_dir():
            return ()
        finished: tuple[str, ...] = ()
        try:
            if any(layout.intents.glob("*.json")) or any(layout.intents.glob("*.tmp")):
                with locked(self._layout, self._lock_seconds):
                    finished = finish_all(layout)
            for attempt in layout.staging.iterdir() if layout.staging.is_dir() else ():
                # NOTE: other runs come and go here while we look.
                with suppress(FileNotFoundError):
                    if now - attempt.stat().st_mtime > STAGING_DAYS * 86_400:
                        self.discard(attempt.name)
        except OSError as error:
            raise translated(error, layout.control) from error
        return finished

    def stage(self, run_id: str) -> Path:
        """A new private staging folder; never one that an earlier attempt left.

        Raises:
            PublishError: the filesystem cannot exchange folders, so nothing could be published later.
        """
        staging = self._layout.staging
        try:
            staging.mkdir(parents=True, exist_ok=True)
            if not can_exchange(staging):
                problem = Problem(str(staging), "this filesystem cannot exchange two folders in one step")
                raise PublishError(
                    "the output", (problem,), hint="put output.path on ext4, xfs, btrfs or tmpfs"
                )
            attempt = staging / f"{run_id}-{uuid.uuid4().hex[:12]}"
            attempt.mkdir()
            (attempt / "scored").mkdir()
        except OSError as error:
            raise translated(error, staging) from error
        return attempt

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
                sync_folder(folder)
        return collected["scored"], collected["quarantine"]

    def discard(self, attempt: str) -> None:
        """Removes an attempt's staging folder, unless it is decided already that it will be published."""
        if (self._layout.intents / f"{attempt}.json").exists():
            return
        shutil.rmtree(self._layout.staging / attempt, ignore_errors=True)

    def publish(self, plan: Plan, scored: ScoredBatch, manifest: Callable[[], tuple[str, str]]) -> str:
        """Makes the staged scores the visible ones of their partition.

        Args:
            plan: what was planned; its ``live`` is the fence.
            scored: what lies in staging.
            manifest: gives the manifest's JSON and the time of publishing; asked under the lock.

        Returns:
            The manifest's JSON: this run's, or that of the run with the same pins that came first.

        Raises:
            StaleRunError: a run with other pins has published the partition since.
            PublishError: the table stayed locked, or the disk refused.
        """
        layout = self._layout
        staged = layout.staging / scored.attempt / "scored"
        run = layout.run(plan.folder, plan.run_id)
        try:
            _verify(staged, scored)
            with locked(self._layout, self._lock_seconds):
                finish_all(layout)
                if (waiting := pending(layout, plan.folder)) is not None:
                    raise unfinished(plan, waiting)
                live = self.live(plan.folder)
                if live == plan.run_id != plan.live and (run / "manifest.json").is_file():
                    self.discard(scored.attempt)
                    return (run / "manifest.json").read_text(encoding="utf-8")
                if live != plan.live:
                    raise stale(plan, live)
                text, published_at = manifest()
                intent = Intent(
                    folder=plan.folder,
                    run_id=plan.run_id,
                    attempt=scored.attempt,
                    inode=staged.stat().st_ino,
                    replaced=live,
                    manifest=text,
                    published_at=published_at,
                )
                same_filesystem(layout, plan.folder, staged)
                file = write_intent(layout, intent)
                try:
                    finish(layout, intent, file)
                except OSError as error:
                    raise interrupted(error, staged, withdrawn=withdraw(layout, intent, file)) from error
        except OSError as error:
            raise translated(error, staged) from error
        return text

    def write_drift(self, plan: Plan, report: DriftReport) -> None:
        """The run's rows of the drift table: one for each column and statistic."""
        file = self._layout.drift(plan.folder, plan.run_id)
        try:
            write_table(file, plan, report)
        except OSError as error:
            raise translated(error, file) from error

    def staged(self, scored: ScoredBatch) -> Any:
        """The scores in staging as a pandas frame."""
        folder = self._layout.staging / scored.attempt / "scored"
        return pa.concat_tables(
            pq.read_table(folder / file.path, partitioning=None) for file in scored.files
        ).to_pandas()

    def keep_quarantine(self, plan: Plan, attempt: str) -> None:
        """Moves the rows that a refused run set aside to where they can be looked at."""
        source = self._layout.staging / attempt / "quarantine"
        target = self._layout.quarantine(plan.folder, plan.run_id)
        if source.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(target, ignore_errors=True)
            source.rename(target)

    def claim(self, folder: str, owner: str, *, instead_of: str | None = None) -> str:
        """Takes a partition for a run whose steps are separate processes; gives who holds it then.

        Args:
            folder: the partition's folder name.
            owner: names the run, for whoever wants to know whether it is still at work.
            instead_of: a holder that is known to have ended; only that one's claim is taken over.

        Raises:
            PublishError: the lock stayed taken, or the disk refused.
        """
        file = self._layout.claim(folder)
        try:
            with locked(self._layout, self._lock_seconds):
                holder = file.read_text(encoding="utf-8") if file.is_file() else None
                if holder is not None and holder not in (owner, instead_of):
                    return holder
                if holder != owner:
                    write_atomic(file, owner)
                return owner
        except OSError as error:
            raise translated(error, file) from error

    def release(self, folder: str, owner: str) -> None:
        """Gives a partition back that this owner had claimed."""
        file = self._layout.claim(folder)
        try:
            with locked(self._layout, self._lock_seconds):
                if file.is_file() and file.read_text(encoding="utf-8") == owner:
                    file.unlink()
        except OSError as error:
            raise translated(error, file) from error


def _renamed(folder: Path, file: OutputFile, name: str) -> OutputFile:
    os.rename(folder / file.path, folder / name)
    return OutputFile(path=name, rows=file.rows, size=file.size, sha256=file.sha256)


def _verify(staged: Path, scored: ScoredBatch) -> None:
    """From listing and footers alone: the files are those that were scored, and hold those rows."""
    expected = {file.path: (file.rows, file.size) for file in scored.files}
    found = {}
    for name in os.listdir(staged):
        try:
            with pq.ParquetFile(staged / name) as opened:
                found[name] = (opened.metadata.num_rows, (staged / name).stat().st_size)
        except pa.ArrowException as error:
            raise PublishError("the staged files", (Problem(name, "cannot be read", str(error)),)) from error
    if found != expected:
        problems = tuple(
            Problem(name, f"expected (rows, bytes) {expected.get(name)}", str(found.get(name)))
            for name in sorted(set(found) | set(expected))
            if found.get(name) != expected.get(name)
        )
        raise PublishError("the staged files", problems)
