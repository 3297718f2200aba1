"""Copies evidence to a run's folder: that of the published attempt, or of the newest if none is published.

Each attempt writes to a separate folder. The plan in the run's folder names the attempt whose evidence it
shows. All functions here need the table's lock.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from batchdeploy.core.layout import MANIFEST, OUTPUT, PAGE, PLAN
from batchdeploy.host.file_modes import restrict
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.storage.run_records import FILES

DRIFT, QUARANTINE = "drift.parquet", "quarantine"
# Without the manifest, which belongs to the run and is written once, after all evidence.
RECORDS = (*(name for name in FILES.values() if name != MANIFEST), OUTPUT)


class RunEvidence:
    """The evidence in the runs' folders of one table."""

    def __init__(self, control: ControlFolder) -> None:
        self._layout = control.layout
        self._disk = control.disk

    def begin(self, folder: str, run_id: str, attempt: str) -> None:
        """Shows a new attempt's evidence, unless the run was published."""
        if attempt and not self._layout.manifest(folder, run_id).exists():
            self._show(folder, run_id, attempt)
            self._show_quarantine(folder, run_id, attempt)

    def update(self, folder: str, run_id: str, attempt: str) -> None:
        """Copies an attempt's new evidence, if the folder shows that attempt."""
        if attempt and self._shown(folder, run_id) == attempt:
            self._show(folder, run_id, attempt)
            if not self._layout.manifest(folder, run_id).exists():
                self._show_quarantine(folder, run_id, attempt)

    def show_published(self, folder: str, run_id: str, attempt: str) -> None:
        """Copies the evidence of the published attempt; safe to repeat."""
        own = self._layout.attempt(folder, run_id, attempt)
        if attempt and (own / PLAN).is_file():
            self._show(folder, run_id, attempt)

    def show_published_quarantine(self, folder: str, run_id: str, attempt: str) -> None:
        """Copies the quarantined rows of the published attempt; safe to repeat."""
        if attempt and self._layout.attempt(folder, run_id, attempt).is_dir():
            self._show_quarantine(folder, run_id, attempt)

    def _shown(self, folder: str, run_id: str) -> str | None:
        try:
            plan = json.loads((self._layout.run(folder, run_id) / PLAN).read_text(encoding="utf-8"))
            return str(plan["attempt"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _show(self, folder: str, run_id: str, attempt: str) -> None:
        own, run = self._layout.attempt(folder, run_id, attempt), self._layout.run(folder, run_id)
        places = {own / name: run / name for name in RECORDS}
        places[own / DRIFT] = self._layout.drift(folder, run_id)
        for source, target in places.items():
            if not source.is_file():
                target.unlink(missing_ok=True)
            elif not _same(source, target):
                self._disk.place(source, target)
        self._show_page(own / PAGE, run / PAGE)
        self._disk.sync_folder(run)

    def _show_page(self, source: Path, target: Path) -> None:
        """Copies a page, because pages with a second hard link are not served."""
        if not source.is_file():
            target.unlink(missing_ok=True)
            return
        scratch = target.with_name(f"{target.name}.tmp")
        shutil.copyfile(source, scratch)
        restrict(scratch)
        scratch.replace(target)

    def _show_quarantine(self, folder: str, run_id: str, attempt: str) -> None:
        source = self._layout.attempt(folder, run_id, attempt) / QUARANTINE
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
