"""Copies evidence to a run's folder: that of the published attempt, or of the newest if none is published.

Each attempt writes to a separate folder. The plan in the run's folder names the attempt whose evidence it
shows. All functions here need the table's lock.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from batchdeploy.core.layout import attempt_key, run_key
from batchdeploy.core.records import Manifest, Plan
from batchdeploy.publishing.control_folder import ControlFolder


class RunEvidence:
    """The evidence in the runs' folders of one table."""

    def __init__(self, control: ControlFolder) -> None:
        self._layout = control.layout
        self._disk = control.disk
        self._records = control.records

    def begin(self, folder: str, run_id: str, attempt: str) -> None:
        """Shows a new attempt's evidence, unless the run was published."""
        if attempt and not self._published(folder, run_id):
            self._show(folder, run_id, attempt)
            self._show_quarantine(folder, run_id, attempt)

    def update(self, folder: str, run_id: str, attempt: str) -> None:
        """Copies an attempt's new evidence, if the folder shows that attempt."""
        if attempt and self._records.find_attempt(run_key(folder, run_id), Plan) == attempt:
            self._show(folder, run_id, attempt)
            if not self._published(folder, run_id):
                self._show_quarantine(folder, run_id, attempt)

    def show_published(self, folder: str, run_id: str, attempt: str) -> None:
        """Copies the evidence of the published attempt; safe to repeat."""
        if attempt and self._records.has(attempt_key(folder, run_id, attempt), Plan):
            self._show(folder, run_id, attempt)

    def show_published_quarantine(self, folder: str, run_id: str, attempt: str) -> None:
        """Copies the quarantined rows of the published attempt; safe to repeat."""
        if attempt and self._layout.attempt(folder, run_id, attempt).is_dir():
            self._show_quarantine(folder, run_id, attempt)

    def _published(self, folder: str, run_id: str) -> bool:
        return self._records.has(run_key(folder, run_id), Manifest)

    def _show(self, folder: str, run_id: str, attempt: str) -> None:
        self._records.show(attempt_key(folder, run_id, attempt), run_key(folder, run_id))
        source = self._layout.attempt_drift(folder, run_id, attempt)
        target = self._layout.drift(folder, run_id)
        if not source.is_file():
            target.unlink(missing_ok=True)
        elif not _same(source, target):
            self._disk.place(source, target)
        self._disk.sync_folder(self._layout.run(folder, run_id))

    def _show_quarantine(self, folder: str, run_id: str, attempt: str) -> None:
        source = self._layout.attempt_quarantine(folder, run_id, attempt)
        target = self._layout.quarantine(folder, run_id)
        if target.is_dir():
            shutil.rmtree(target)
        if source.is_dir():
            for file in sorted(source.iterdir()):
                self._disk.place(file, target / file.name)


def _same(source: Path, target: Path) -> bool:
    with suppress(OSError):
        return os.path.samefile(source, target)
    return False
