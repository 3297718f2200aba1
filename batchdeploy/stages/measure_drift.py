"""Measures drift from the counts that scoring collected, so that no row is read again."""

from __future__ import annotations

from batchdeploy.core.drift import judge, not_measured
from batchdeploy.core.drift_sentences import describe, moved
from batchdeploy.core.records import DriftReport, Plan, ScoredBatch
from batchdeploy.errors import DriftRefused, Problem
from batchdeploy.ports import ReferenceSource


def measure_drift(plan: Plan, scored: ScoredBatch, *, references: ReferenceSource) -> DriftReport:
    """Measures every column's drift against the reference, and decides the verdict.

    Raises:
        DataError: the reference changed since the plan was made.
    """
    spec = plan.deployment.drift
    if spec is None or plan.reference is None:
        return not_measured("the deployment names no drift.reference", (), run_id=plan.run_id)
    reference = references.read_pinned(plan.reference)
    return judge(reference, scored.profile, spec, run_id=plan.run_id)


def gate_drift(plan: Plan, report: DriftReport) -> None:
    """Raises if the report has an alarm and ``drift.on_alarm`` is ``block``.

    Raises:
        DriftRefused: lists each column with an alarm.
    """
    spec = plan.deployment.drift
    if spec is not None and spec.on_alarm == "block" and report.alarms:
        raise DriftRefused(
            plan.folder,
            tuple(Problem(row.column, describe(row)) for row in moved(report)),
            hint="drift.on_alarm: warn would publish with a warning",
        )
