"""Evidence in memory: what was kept of which attempt."""

from __future__ import annotations

from typing import Any

from batchdeploy.core.profiles import ColumnProfile
from batchdeploy.core.records import DriftReport, Plan
from fakes.staging import FakeStaging


class FakeEvidence:
    """What each attempt left behind, by the attempt's name.

    Attributes:
        shown: partition folder and run to the attempt whose evidence the run's folder shows.
        quarantine: the rows that were kept, by the name of their file.
        drift: the drift reports that were written.
        output_of: the attempts of whose models the output was kept.
    """

    def __init__(self, staging: FakeStaging) -> None:
        self.shown: dict[tuple[str, str], str] = {}
        self.quarantine: dict[str, dict[str, Any]] = {}
        self.drift: dict[str, DriftReport] = {}
        self.output_of: list[str] = []
        self._staging = staging

    def begin_evidence(self, plan: Plan) -> None:
        """Has the run's folder show a new attempt."""
        self.shown[plan.folder, plan.run_id] = plan.attempt

    def update_evidence(self, plan: Plan) -> None:
        """Nothing to do: the run's folder shows all that the attempt has."""

    def keep_output(self, plan: Plan, attempt: str) -> None:
        """Notes that the output was kept."""
        self.output_of.append(plan.attempt or attempt)

    def keep_quarantine(self, plan: Plan, attempt: str) -> None:
        """Keeps the rows that an attempt quarantined."""
        self.quarantine[plan.attempt or attempt] = self._staging.tables(attempt, "quarantine")

    def write_drift(self, plan: Plan, report: DriftReport) -> None:
        """Keeps the attempt's drift report."""
        self.drift[plan.attempt] = report


class FakePainter:
    """Draws the names of columns."""

    def distribution(self, reference: ColumnProfile, current: ColumnProfile) -> str:
        """The column's name."""
        return f"<svg>{reference.name}</svg>"

    def overview(self, report: DriftReport) -> str:
        """The verdict."""
        return f"<svg>{report.verdict}</svg>"
