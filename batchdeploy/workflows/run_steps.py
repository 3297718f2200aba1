"""The steps of a run, in order. Each calls one stage, writes its record, and then applies the gate.

The record is written before the gate, so that a refusal leaves its evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from batchdeploy.core.pins import input_changed
from batchdeploy.core.records import CheckReport, DriftReport, Manifest, Plan, ScoredBatch
from batchdeploy.errors import GateRefused
from batchdeploy.redaction import logger
from batchdeploy.stages.measure_drift import gate_drift, measure_drift
from batchdeploy.stages.publish import publish
from batchdeploy.stages.report import render_line
from batchdeploy.stages.score import gate_quarantine, score
from batchdeploy.stages.validate import gate_validation, validate
from batchdeploy.workflows import timing
from batchdeploy.workflows.attempt import warn_on_failure
from batchdeploy.workflows.run_folders import key_of_attempt
from batchdeploy.workflows.toolbox import Toolbox

T = TypeVar("T", CheckReport, ScoredBatch, DriftReport)
LOG = logger("batchdeploy")


def step_validate(tools: Toolbox, planned: Plan) -> CheckReport:
    """Validates and writes check.json, then applies the gate."""
    report = _write(tools, planned, _validate(tools, planned))
    gate_validation(planned, report)
    return report


def step_score(tools: Toolbox, planned: Plan, *, done: Callable[[int], None]) -> ScoredBatch:
    """Scores into staging and writes scored.json, then applies the quarantine gate."""
    scored = score(planned, tools.to_score(), now=timing.now(), done=done)
    try:
        _write(tools, planned, scored)
        gate_quarantine(planned, scored)
    except GateRefused:
        _keep_quarantine(tools, planned, scored)
        tools.publishing.staging.discard(scored.attempt)
        raise
    except BaseException:
        tools.publishing.staging.discard(scored.attempt)
        raise
    return scored


def step_drift(tools: Toolbox, planned: Plan, scored: ScoredBatch) -> DriftReport:
    """Writes drift.json and the drift table, then applies the gate."""
    report = measure_drift(planned, scored, references=tools.references)
    tools.publishing.evidence.write_drift(planned, report)
    _write(tools, planned, report)
    try:
        gate_drift(planned, report)
    except GateRefused:
        _keep_quarantine(tools, planned, scored)
        raise
    return report


def step_publish(
    tools: Toolbox, planned: Plan, *, check: CheckReport, scored: ScoredBatch, drift: DriftReport
) -> Manifest:
    """Publishes; manifest.json is written last.

    Raises:
        DataError: the input changed since it was planned, and nothing was published.
    """
    if changes := tools.source.changes(planned.deployment.data, planned.partition, planned.data):
        raise input_changed(planned.data, changes)
    manifest = publish(
        tools.publishing.publisher,
        planned,
        records=(check, scored, drift),
        versions=tools.versions,
        clock=timing.now,
    )
    LOG.info(render_line(manifest))
    return manifest


def _validate(tools: Toolbox, planned: Plan) -> CheckReport:
    return validate(
        planned,
        texts=tools.texts,
        reader=tools.reader,
        validator=None if planned.suite is None else tools.validator,
        now=timing.now().isoformat(),
    )


def _keep_quarantine(tools: Toolbox, planned: Plan, scored: ScoredBatch) -> None:
    """Stores the quarantined rows of a refused attempt; only warns on failure."""
    with warn_on_failure(f"the quarantined rows of run {planned.run_id} could not be stored"):
        tools.publishing.evidence.keep_quarantine(planned, scored.attempt)
        tools.publishing.evidence.update_evidence(planned)


def _write(tools: Toolbox, planned: Plan, record: T) -> T:
    """Writes and logs a record of an attempt, and returns it."""
    tools.records.write(key_of_attempt(planned), record)
    LOG.info(render_line(record))
    tools.publishing.evidence.update_evidence(planned)
    return record
