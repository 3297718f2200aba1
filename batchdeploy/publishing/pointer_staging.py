"""The staging of a table that is published by pointer: scores lie at their final place from the start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.core.layout import STAGING, data_folder, staged_quarantine_key
from batchdeploy.core.records import OutputFile, ScoredBatch
from batchdeploy.core.work import AttemptFolders, SplitResult
from batchdeploy.errors import BatchdeployError
from batchdeploy.host.file_modes import restrict
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.pointer_attempts import PointerAttempts
from batchdeploy.publishing.pointer_files import PointerFiles
from batchdeploy.publishing.refusals import translated
from batchdeploy.storage.failpoints import hit
from batchdeploy.storage.interface import Storage
from batchdeploy.storage.object_storage import storage_error


class PointerStaging:
    """The staging of one table, whose workers write to the table's storage.

    Args:
        control: the table's control folder.
        files: the table's files.
        attempts: its attempts.
    """

    def __init__(self, control: ControlFolder, files: PointerFiles, attempts: PointerAttempts) -> None:
        self._control = control
        self._files = files
        self._attempts = attempts

    def stage(self, folder: str, run_id: str) -> AttemptFolders:
        """Begins a new attempt of a run and returns where its workers write.

        Raises:
            PublishError: the control folder cannot be written.
        """
        self._control.protect()
        try:
            return self._attempts.begin(folder, run_id)
        except OSError as error:
            raise self._failure(error) from error

    def hand_over(self, attempt: str) -> None:
        """Lets another process continue an attempt."""
        self._attempts.hand_over(attempt)

    def collect(
        self,
        attempt: AttemptFolders,
        run_id: str,  # noqa: ARG002
        results: Sequence[SplitResult],
    ) -> tuple[tuple[OutputFile, ...], tuple[OutputFile, ...]]:
        """Removes the files that no result names, and returns the others as they are.

        A task that is still running may write one more; garbage collection removes it.

        Returns:
            (scored files, quarantine files), in the order of the input.
        """
        scored = tuple(result.scored for result in results if result.scored)
        quarantined = tuple(result.quarantine for result in results if result.quarantine)
        table, control = self._files.storage, self._control.storage
        folder = attempt.scored.removeprefix(f"{self._files.target}/")
        try:
            _remove_others(table, folder, scored)
            _remove_others(control, staged_quarantine_key(attempt.name), quarantined)
            if not self._control.remote:
                restrict(*(Path(attempt.quarantine, file.path) for file in quarantined))
            self._files.sync_folder(folder)
        except OSError as error:
            raise self._failure(error) from error
        hit("files collected")
        return scored, quarantined

    def discard(self, attempt: str) -> None:
        """Removes an attempt's files, unless it is or may be published."""
        self._attempts.discard(attempt)

    def staged(self, folder: str, scored: ScoredBatch) -> Any:
        """The scores of a partition in staging, as a pandas frame.

        Raises:
            PublishError: the storage does not answer.
        """
        prefix, tables = data_folder(folder, scored.attempt), []
        try:
            for file in scored.files:
                with self._files.storage.open_input(f"{prefix}/{file.path}") as stream:
                    tables.append(pq.read_table(stream))
        except OSError as error:
            raise storage_error(self._files.target, f"{prefix} cannot be read", error) from error
        return pa.concat_tables(tables).to_pandas()

    def _failure(self, error: OSError) -> BatchdeployError:
        if self._control.remote:
            return storage_error(self._control.storage.target, "the attempt cannot be written", error)
        return translated(error, self._control.layout.control / STAGING)


def _remove_others(storage: Storage, prefix: str, named: Sequence[OutputFile]) -> None:
    """Deletes the files of a folder that are not among those named."""
    names = {file.path for file in named}
    for key in [entry.key for entry in storage.list(prefix)]:
        if PurePosixPath(key).name not in names:
            storage.delete(key)
