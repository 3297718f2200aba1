"""Writes the evidence of an attempt besides its records: quarantined rows, model output, drift rows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from batchdeploy.core.layout import attempt_key
from batchdeploy.core.records import DriftReport, Plan
from batchdeploy.errors import PublishError
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.drift_table import write_table
from batchdeploy.publishing.refusals import translated
from batchdeploy.publishing.run_evidence import RunEvidence
from batchdeploy.redaction import redact

LOCK_SECONDS = 5.0
# Limits on stored model output: splits per run, and bytes per run.
MOST_SPLITS, MOST_OUTPUT = 64, 2**18


class EvidenceFolder:
    """The evidence of one table's attempts."""

    def __init__(self, control: ControlFolder) -> None:
        self._control = control
        self._shown = RunEvidence(control)

    def begin_evidence(self, plan: Plan) -> None:
        """Replaces the evidence in the run's folder by a new attempt's, unless the run is published."""
        self._control.protect()
        self._change_shown(plan, self._shown.begin)

    def update_evidence(self, plan: Plan) -> None:
        """Copies an attempt's new evidence to the run's folder, if the folder shows that attempt."""
        self._change_shown(plan, self._shown.update)

    def keep_output(self, plan: Plan, attempt: str) -> None:
        """Writes the model's printed output, if any, beside the attempt's records."""
        source = self._control.layout.printed(attempt)
        records, key = self._control.records, attempt_key(plan.folder, plan.run_id, plan.attempt or attempt)
        # Output is evidence only, so a failure to store it does not stop the run.
        with suppress(OSError):
            text = b"".join(file.read_bytes() for file in sorted(source.iterdir())[:MOST_SPLITS])
            if records.has(key, Plan):
                records.write_output(key, redact(text.decode("utf-8", "replace"))[:MOST_OUTPUT])

    def keep_quarantine(self, plan: Plan, attempt: str) -> None:
        """Copies the quarantined rows from staging to the attempt's evidence.

        Raises:
            PublishError: the disk failed.
        """
        layout = self._control.layout
        source = layout.staged_quarantine(attempt)
        target = layout.attempt_quarantine(plan.folder, plan.run_id, plan.attempt or attempt)
        try:
            for file in sorted(source.iterdir()) if source.is_dir() else ():
                self._control.disk.place(file, target / file.name)
        except OSError as error:
            raise translated(error, target) from error

    def write_drift(self, plan: Plan, report: DriftReport) -> None:
        """Writes the attempt's rows of the drift table, one per column and statistic.

        Raises:
            PublishError: the disk refused.
        """
        file = self._control.layout.drift(plan.folder, plan.run_id)
        if plan.attempt:
            file = self._control.layout.attempt_drift(plan.folder, plan.run_id, plan.attempt)
        try:
            write_table(file, plan, report)
        except OSError as error:
            raise translated(error, file) from error

    def _change_shown(self, plan: Plan, change: Callable[[str, str, str], None]) -> None:
        seconds = min(LOCK_SECONDS, self._control.spec.lock_seconds)
        # On failure, the attempt's own folder still has the rows.
        with suppress(OSError, PublishError), self._control.lock(seconds):
            change(plan.folder, plan.run_id, plan.attempt)
