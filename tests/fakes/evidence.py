"""Evidence of attempts in memory."""

from __future__ import annotations

from typing import Any

from batchdeploy.core.layout import ATTEMPTS, MANIFEST, run_key
from batchdeploy.core.profiles import ColumnProfile
from batchdeploy.core.records import DriftReport, Plan
from batchdeploy.storage.interface import Storage, write
from fakes.staging import FakeStaging


class FakeEvidence:
    """The evidence of each attempt, by the attempt's name.

    A run's folder shows the records of one attempt: the published one, else the newest.

    Attributes:
        quarantine: the stored quarantined rows, by file name.
        drift: the written drift reports.
        output_of: the attempts with stored model output.
    """

    def __init__(self, staging: FakeStaging, storage: Storage) -> None:
        self.quarantine: dict[str, dict[str, Any]] = {}
        self.drift: dict[str, DriftReport] = {}
        self.output_of: list[str] = []
        self._staging = staging
        self._storage = storage
        self._shown: dict[str, str] = {}

    def begin_evidence(self, plan: Plan) -> None:
        """Makes the run's folder show a new attempt, unless the run is published."""
        run = run_key(plan.folder, plan.run_id)
        if self._storage.read(f"{run}/{MANIFEST}") is None:
            self._shown[run] = plan.attempt
            self._show(run)

    def update_evidence(self, plan: Plan) -> None:
        """Copies an attempt's new evidence to the run's folder, if the folder shows that attempt."""
        run = run_key(plan.folder, plan.run_id)
        if self._shown.get(run) == plan.attempt:
            self._show(run)

    def keep_output(self, plan: Plan, attempt: str) -> None:
        """Records that the output was stored."""
        self.output_of.append(plan.attempt or attempt)

    def keep_quarantine(self, plan: Plan, attempt: str) -> None:
        """Stores the quarantined rows of an attempt."""
        self.quarantine[plan.attempt or attempt] = self._staging.tables(attempt, "quarantine")

    def write_drift(self, plan: Plan, report: DriftReport) -> None:
        """Stores the attempt's drift report."""
        self.drift[plan.attempt] = report

    def _show(self, run: str) -> None:
        own = f"{run}/{ATTEMPTS}/{self._shown[run]}"
        for entry in list(self._storage.list(run)):
            name = entry.key.removeprefix(f"{run}/")
            if "/" not in name and name != MANIFEST:
                self._storage.delete(entry.key)
        for entry in list(self._storage.list(own)):
            found = self._storage.read(entry.key)
            if found is not None:
                write(self._storage, run + entry.key.removeprefix(own), found.content)


class FakePainter:
    """Draws the names of columns."""

    def distribution(self, reference: ColumnProfile, current: ColumnProfile) -> str:
        """The column's name."""
        return f"<svg>{reference.name}</svg>"

    def overview(self, report: DriftReport) -> str:
        """The verdict."""
        return f"<svg>{report.verdict}</svg>"
