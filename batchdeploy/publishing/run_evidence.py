"""Copies evidence to a run's folder: that of the published attempt, or of the newest if none is published.

Each attempt writes to a separate folder. The plan in the run's folder names the attempt whose evidence it
shows. In a folder, all functions here need the table's lock. A store has none, and attempts may race: the
plan is written first, and whoever has copied files looks at the plan again and, if it names another attempt,
copies that one's. So the last to finish leaves the files of the attempt that the plan names.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

from batchdeploy.core.layout import (
    ATTEMPTS,
    PLAN,
    attempt_drift_key,
    attempt_key,
    attempt_quarantine_key,
    drift_key,
    quarantine_key,
    run_key,
)
from batchdeploy.core.records import Manifest, Plan
from batchdeploy.errors import DataError
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.storage.interface import copy, names_below

# So many other attempts may begin while one copies its files.
MOST_ROUNDS = 8


class RunEvidence:
    """The evidence in the runs' folders of one table."""

    def __init__(self, control: ControlFolder) -> None:
        self._control = control
        self._storage = control.storage
        self._records = control.records

    def begin(self, folder: str, run_id: str, attempt: str) -> None:
        """Shows a new attempt's evidence, unless the run was published."""
        if attempt and not self._published(folder, run_id):
            self._show(folder, run_id, attempt)
            self._show_quarantine(folder, run_id, attempt)
            self.settle(folder, run_id, attempt)

    def update(self, folder: str, run_id: str, attempt: str) -> None:
        """Copies an attempt's new evidence, if the folder shows that attempt."""
        if attempt and self._records.find_attempt(run_key(folder, run_id), Plan) == attempt:
            self._show_again(folder, run_id, attempt)
            if not self._published(folder, run_id):
                self._show_quarantine(folder, run_id, attempt)
            self.settle(folder, run_id, attempt)

    def show_published(self, folder: str, run_id: str, attempt: str) -> None:
        """Copies the evidence of the published attempt; safe to repeat."""
        if attempt and self._records.has(attempt_key(folder, run_id, attempt), Plan):
            self._show(folder, run_id, attempt)

    def show_published_quarantine(self, folder: str, run_id: str, attempt: str) -> None:
        """Copies the quarantined rows of the published attempt; safe to repeat."""
        if attempt and self._records.has(attempt_key(folder, run_id, attempt), Plan):
            self._show_quarantine(folder, run_id, attempt)

    def settle(self, folder: str, run_id: str, shown: str = "") -> None:
        """In a store, shows the attempt that the folder must show, until no other writer was faster.

        Args:
            folder: the partition's folder name.
            run_id: the run.
            shown: the attempt that was copied last.
        """
        if not self._control.remote:
            return
        for _ in range(MOST_ROUNDS):
            named = self._records.find_attempt(run_key(folder, run_id), Plan)
            published = self._published_attempt(folder, run_id, named)
            if published not in (None, named):
                self._show(folder, run_id, published or "")
            elif named in (None, shown):
                return
            else:
                self._show_again(folder, run_id, named or "")
            shown = published or named or ""
            self._show_quarantine(folder, run_id, shown)

    def _published_attempt(self, folder: str, run_id: str, named: str | None) -> str | None:
        """The attempt whose plan was published; None if none was, or if it cannot be told."""
        run = run_key(folder, run_id)
        with suppress(DataError):
            manifest = self._records.find(run, Manifest)
            for name in (named, *self._attempts(folder, run_id)) if manifest else ():
                text = self._records.find_text(attempt_key(folder, run_id, name or ""), Plan)
                if text and manifest and hashlib.sha256(text.encode()).hexdigest() == manifest.plan_sha256:
                    return name
        return None

    def _attempts(self, folder: str, run_id: str) -> list[str]:
        below = f"{run_key(folder, run_id)}/{ATTEMPTS}"
        keys = (entry.key for entry in self._storage.list(below))
        return sorted({key.removeprefix(f"{below}/").partition("/")[0] for key in keys})

    def _published(self, folder: str, run_id: str) -> bool:
        return self._records.has(run_key(folder, run_id), Manifest)

    def _show(self, folder: str, run_id: str, attempt: str) -> None:
        self._records.show(attempt_key(folder, run_id, attempt), run_key(folder, run_id))
        self._show_drift(folder, run_id, attempt)

    def _show_again(self, folder: str, run_id: str, attempt: str) -> None:
        """Copies the evidence of the attempt whose plan the folder has."""
        own, run = attempt_key(folder, run_id, attempt), run_key(folder, run_id)
        planned, stored = self._storage.read(f"{own}/{PLAN}"), self._storage.read(f"{run}/{PLAN}")
        # An attempt may be planned again. If another one has begun meanwhile, its plan stays.
        if planned is None or stored is None or planned.content == stored.content:
            pass
        elif self._records.find_attempt(run, Plan) == attempt:
            self._storage.swap(f"{run}/{PLAN}", planned.content, stored.token)
        self._records.show_again(own, run)
        self._show_drift(folder, run_id, attempt)

    def _show_drift(self, folder: str, run_id: str, attempt: str) -> None:
        key = drift_key(folder, run_id)
        if not copy(self._storage, attempt_drift_key(folder, run_id, attempt), key):
            self._storage.delete(key)
        if not self._control.remote:
            self._control.disk.sync_folder(self._control.layout.run(folder, run_id))

    def _show_quarantine(self, folder: str, run_id: str, attempt: str) -> None:
        source = names_below(self._storage, attempt_quarantine_key(folder, run_id, attempt))
        target = quarantine_key(folder, run_id)
        for name, key in names_below(self._storage, target).items():
            if name not in source:
                self._storage.delete(key)
        for name, key in source.items():
            copy(self._storage, key, f"{target}/{name}")
