"""The staging area: a private folder per attempt, with the files that workers write."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.core.layout import QUARANTINE, STAGED
from batchdeploy.core.records import OutputFile, ScoredBatch
from batchdeploy.core.work import AttemptFolders, SplitResult
from batchdeploy.host.file_modes import restrict
from batchdeploy.publishing.attempts import Attempts
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.refusals import translated
from batchdeploy.storage.failpoints import hit


class StagingArea:
    """The staging area of one table that is published by swap.

    Args:
        control: the table's control folder.
        attempts: its staging folders.
    """

    def __init__(self, control: ControlFolder, attempts: Attempts) -> None:
        self._control = control
        self._attempts = attempts

    def stage(self, folder: str, run_id: str) -> AttemptFolders:  # noqa: ARG002
        """Creates a staging folder, named after a new attempt of the run.

        Raises:
            PublishError: the filesystem cannot exchange folders, so nothing could be published later.
        """
        self._control.protect()
        try:
            attempt = self._attempts.begin(run_id)
        except OSError as error:
            raise translated(error, self._control.layout.staging) from error
        return AttemptFolders(
            name=attempt.name,
            scored=str(attempt / STAGED),
            quarantine=str(attempt / QUARANTINE),
            scratch=str(attempt),
        )

    def hand_over(self, attempt: str) -> None:
        """Releases an attempt's liveness lock, so that another process can continue it."""
        self._attempts.hand_over(attempt)

    def collect(
        self, attempt: AttemptFolders, run_id: str, results: Sequence[SplitResult]
    ) -> tuple[tuple[OutputFile, ...], tuple[OutputFile, ...]]:
        """Renames the files in ``results`` to their final names, and deletes all others.

        Returns:
            (scored files, quarantine files), in the order of the input.
        """
        try:
            scored = [result.scored for result in results if result.scored]
            quarantine = [result.quarantine for result in results if result.quarantine]
            kept = self._collect_kind(Path(attempt.scored), run_id, scored)
            quarantined = self._collect_kind(Path(attempt.quarantine), run_id, quarantine)
            # Scores become public files, quarantined rows never do.
            restrict(*(Path(attempt.quarantine, file.path) for file in quarantined))
        except OSError as error:
            raise translated(error, Path(attempt.scratch)) from error
        hit("files collected")
        return kept, quarantined

    def discard(self, attempt: str) -> None:
        """Removes an attempt's staging folder, unless an intent to publish it exists."""
        self._attempts.discard(attempt)

    def staged(self, folder: str, scored: ScoredBatch) -> Any:  # noqa: ARG002
        """The scores in staging as a pandas frame."""
        staged = self._control.layout.staged(scored.attempt)
        return pa.concat_tables(
            pq.read_table(staged / file.path, partitioning=None) for file in scored.files
        ).to_pandas()

    def _collect_kind(self, folder: Path, run_id: str, files: list[OutputFile]) -> tuple[OutputFile, ...]:
        named = {file.path for file in files}
        for name in os.listdir(folder) if folder.is_dir() else ():
            if name not in named:
                (folder / name).unlink()
        collected = tuple(
            _renamed(folder, file, f"part-{number:05d}-{run_id}.parquet") for number, file in enumerate(files)
        )
        if folder.is_dir():
            self._control.disk.sync_folder(folder)
        return collected


def _renamed(folder: Path, file: OutputFile, name: str) -> OutputFile:
    os.rename(folder / file.path, folder / name)
    return OutputFile(path=name, rows=file.rows, size=file.size, sha256=file.sha256)
