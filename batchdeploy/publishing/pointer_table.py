"""Reads a table whose published files are named by ``current.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from batchdeploy.core.records import OutputFile
from batchdeploy.core.tables import TableRecord
from batchdeploy.documents import from_json
from batchdeploy.errors import Problem
from batchdeploy.publishing.ownership import infer_record
from batchdeploy.publishing.pointer_files import PointerFiles
from batchdeploy.storage.file_checks import file_problems


class PointerTable:
    """A table with a pointer, in an object store or a folder.

    Args:
        files: the table's files.
    """

    def __init__(self, files: PointerFiles) -> None:
        self._files = files

    def published_run(self, folder: str) -> str | None:
        """The id of the run that is published in a partition's folder, or None."""
        entry = self.entry(folder)
        return None if entry is None else str(entry["run_id"])

    def published_partitions(self) -> tuple[str, ...]:
        """The folder names of all published partitions."""
        return tuple(sorted(self._files.read().document["partitions"]))

    def files(self, folder: str) -> tuple[str, ...]:
        """The paths or URIs of a partition's published files."""
        entry = self.entry(folder) or {"files": []}
        return tuple(f"{self._files.target}/{file['path']}" for file in entry["files"])

    def file_problems(
        self, folder: str, run_id: str, files: Sequence[OutputFile], *, content: bool
    ) -> tuple[Problem, ...] | None:
        """Compares the files that the pointer names; see `PublishedTable.file_problems`.

        Raises:
            OSError: the storage does not answer.
        """
        entry = self.entry(folder)
        known = [] if entry is None else [entry, *entry["earlier"]]
        found = next((one for one in known if one["run_id"] == run_id), None)
        if found is None:
            return None
        keys = {PurePosixPath(file["path"]).name: file["path"] for file in found["files"]}
        recorded = {keys.get(file.path, file.path): file for file in files}
        return file_problems(self._files.storage, recorded, content=content)

    def attempt_of(self, folder: str) -> str | None:
        """The attempt that wrote a partition's published files, or None."""
        entry = self.entry(folder)
        return None if entry is None else str(entry["attempt"])

    def generations(self, folder: str) -> tuple[str, ...]:
        """The run ids of a partition's earlier generations, newest first."""
        return tuple(earlier["run_id"] for earlier in (self.entry(folder) or {"earlier": []})["earlier"])

    def record(self) -> TableRecord | None:
        """The table's owner and columns; None if nothing is published."""
        return record_in(self._files, self._files.read().document)

    def entry(self, folder: str) -> dict[str, Any] | None:
        """A partition's entry in the pointer: run, attempt, files, and earlier generations."""
        found: dict[str, Any] = self._files.read().document["partitions"]
        return found.get(folder)


def record_in(files: PointerFiles, document: dict[str, Any]) -> TableRecord | None:
    """The table record in a pointer document; inferred from a manifest if it has none."""
    if not document["partitions"]:
        return None
    if "table" in document:
        return from_json(TableRecord, json.dumps(document["table"]), where=files.target)
    folder, entry = max(document["partitions"].items())
    return infer_record(files.text(entry["manifest"]), folder, {})
