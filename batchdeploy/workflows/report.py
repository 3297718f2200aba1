"""Draws the report page of an attempt from its records, and redraws missing pages."""

from __future__ import annotations

from batchdeploy.core.layout import PAGE
from batchdeploy.core.locations import Location
from batchdeploy.core.records import CheckReport, DriftReport, Manifest, Plan, Refusal, ScoredBatch
from batchdeploy.redaction import logger
from batchdeploy.stages.report import AttemptRecords, find_reference, render_html
from batchdeploy.workflows.run_folders import attempt_folder, key_of_attempt, key_of_run
from batchdeploy.workflows.timing import StageClock
from batchdeploy.workflows.toolbox import Toolbox

LOG = logger("batchdeploy")


def draw_report(tools: Toolbox, planned: Plan, records: AttemptRecords | None = None) -> Location:
    """Writes report.html of an attempt.

    Args:
        tools: the deployment's toolbox.
        planned: the attempt's plan.
        records: its records; None reads them from the storage.
    """
    reference = find_reference(planned, tools.references)
    records = records or find_records(tools, planned)
    html = render_html(planned, records, reference=reference, painter=tools.painter)
    tools.records.write_page(key_of_attempt(planned), html)
    tools.publishing.evidence.update_evidence(planned)
    return attempt_folder(tools, planned) / PAGE


def find_records(tools: Toolbox, planned: Plan) -> AttemptRecords:
    """Reads the records that an attempt has so far."""
    records, key = tools.records, key_of_attempt(planned)
    return AttemptRecords(
        check=records.find(key, CheckReport),
        scored=records.find(key, ScoredBatch),
        drift=records.find(key, DriftReport),
        refusal=records.find(key, Refusal),
        published=records.find(key_of_run(planned), Manifest),
        printed=records.find_output(key),
    )


def try_draw_report(
    tools: Toolbox, planned: Plan, clock: StageClock, records: AttemptRecords | None = None
) -> None:
    """Draws the page of a published attempt; only warns on failure, because the scores are published."""
    try:
        with clock.stage("report"):
            draw_report(tools, planned, records)
    except Exception as error:  # noqa: BLE001
        where = attempt_folder(tools, planned)
        LOG.warning("the page of %s could not be drawn: %s: %s", where, type(error).__name__, error)


def redraw_report(tools: Toolbox, key: str) -> None:
    """Redraws the page of a run's folder if it is missing or was truncated by a full disk."""
    planned = None if tools.records.has_page(key) else tools.records.find(key, Plan)
    if planned is not None:
        try_draw_report(tools, planned, StageClock())
