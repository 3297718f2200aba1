"""Writes the evidence of an attempt besides its records: quarantined rows, model output, drift rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from batchdeploy.core.layout import (
    attempt_drift_key,
    attempt_key,
    attempt_quarantine_key,
    drift_key,
    printed_key,
    staged_quarantine_key,
)
from batchdeploy.core.records import DriftReport, Plan
from batchdeploy.errors import PublishError
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.drift_table import write_table
from batchdeploy.publishing.refusals import translated
from batchdeploy.publishing.run_evidence import RunEvidence
from batchdeploy.redaction import redact
from batchdeploy.storage.interface import copy, names_below

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
        records, key = self._control.records, attempt_key(plan.folder, plan.run_id, plan.attempt or attempt)
        # Output is evidence only, so a failure to store it does not stop the run.
        with suppress(OSError):
            text = b"".join(self._printed(attempt))
            if text and records.has(key, Plan):
                records.write_output(key, redact(text.decode("utf-8", "replace"))[:MOST_OUTPUT])

    def keep_quarantine(self, plan: Plan, attempt: str) -> None:
        """Copies the quarantined rows from staging to the attempt's evidence.

        Raises:
            PublishError: the disk or the store failed.
        """
        storage = self._control.storage
        target = attempt_quarantine_key(plan.folder, plan.run_id, plan.attempt or attempt)
        try:
            for name, key in names_below(storage, staged_quarantine_key(attempt)).items():
                copy(storage, key, f"{target}/{name}")
        except OSError as error:
            raise translated(error, f"{storage.target}/{target}") from error

    def write_drift(self, plan: Plan, report: DriftReport) -> None:
        """Writes the attempt's rows of the drift table, one per column and statistic.

        Raises:
            PublishError: the disk or the store refused.
        """
        key, storage = drift_key(plan.folder, plan.run_id), self._control.storage
        if plan.attempt:
            key = attempt_drift_key(plan.folder, plan.run_id, plan.attempt)
        try:
            write_table(storage, key, plan, report)
        except OSError as error:
            raise translated(error, f"{storage.target}/{key}") from error

    def _printed(self, attempt: str) -> Iterator[bytes]:
        """What the workers and this process captured; both write to one folder unless it is in a store."""
        here = self._control.layout.printed(attempt)
        files = sorted(here.iterdir()) if here.is_dir() else []
        yield from (file.read_bytes() for file in files[:MOST_SPLITS])
        if self._control.remote:
            storage = self._control.storage
            keys = names_below(storage, printed_key(attempt)).values()
            found = (storage.read(key) for key in [*keys][:MOST_SPLITS])
            yield from (stored.content for stored in found if stored is not None)

    def _change_shown(self, plan: Plan, change: Callable[[str, str, str], None]) -> None:
        seconds = min(LOCK_SECONDS, self._control.spec.lock_seconds)
        # On failure, the attempt's own folder still has the rows.
        with suppress(OSError, PublishError), self._control.lock(seconds):
            change(plan.folder, plan.run_id, plan.attempt)
