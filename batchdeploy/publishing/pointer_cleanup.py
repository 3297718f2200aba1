"""Maintenance of a table that is published by pointer."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from batchdeploy.core.layout import POINTER_DATA, POINTER_MANIFESTS, run_key
from batchdeploy.core.maintenance import CleanupReport
from batchdeploy.core.records import Manifest
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.pointer_attempts import PointerAttempts
from batchdeploy.publishing.pointer_document import ORPHAN_SECONDS, paths_of
from batchdeploy.publishing.pointer_files import PointerFiles
from batchdeploy.publishing.pointer_records import PointerRecords

# Every run looks for the manifests of all partitions. Each in a store costs a round trip, so that many are
# read at a time.
READERS = 16


class PointerCleanup:
    """Writes the missing records of killed runs, and deletes files that no generation names.

    Args:
        control: the table's control folder.
        files: the table's files.
        records: writes the records of published runs.
        attempts: the table's attempts.
    """

    def __init__(
        self,
        control: ControlFolder,
        files: PointerFiles,
        *,
        records: PointerRecords,
        attempts: PointerAttempts,
    ) -> None:
        self._control = control
        self._files = files
        self._records = records
        self._attempts = attempts

    def finish(self) -> tuple[str, ...]:
        """Writes the records of runs that died right after they were published; returns their run ids."""
        finished, partitions = [], self._files.read().document["partitions"]
        recorded = self._recorded([run_key(folder, entry["run_id"]) for folder, entry in partitions.items()])
        for (folder, entry), shown in zip(partitions.items(), recorded, strict=True):
            if shown != entry["attempt"] and (text := self._files.text(entry["manifest"])):
                self._records.write_published(folder, entry, text)
                finished.append(entry["run_id"])
        return tuple(finished)

    def prune(self, now: float) -> CleanupReport:
        """Deletes files that no generation names and that nobody can be reading or writing.

        Args:
            now: seconds since the epoch.
        """
        expired = self._attempts.sweep_expired(now)
        document = self._files.read().document
        partitions = document["partitions"].values()
        named = {path for p in partitions for entry in (p, *p["earlier"]) for path in paths_of(entry)}
        dropped = {path: one["since"] for one in document.get("dropped", ()) for path in one["paths"]}
        reader_seconds = self._control.spec.reader_seconds
        removed = []
        for prefix in (POINTER_DATA, POINTER_MANIFESTS):
            for path, stored in self._files.listed(prefix):
                since, grace = stored, max(ORPHAN_SECONDS, reader_seconds)
                if path in dropped:
                    since, grace = dropped[path], reader_seconds
                if path not in named and now - since > grace:
                    self._files.delete(path)
                    removed.append(path)
        return CleanupReport(attempts=expired, leftovers=tuple(removed))

    def _recorded(self, runs: Sequence[str]) -> list[str | None]:
        """The attempt in the manifest of each of these runs, by their keys."""
        find = partial(self._control.records.find_attempt, kind=Manifest)
        if not self._control.remote:
            return [find(run) for run in runs]
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(find, runs))
