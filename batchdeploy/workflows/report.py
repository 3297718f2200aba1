"""The page of an attempt: drawn from whatever records it has, and drawn again where it is missing."""

from __future__ import annotations

from pathlib import Path

from batchdeploy.core.layout import PAGE
from batchdeploy.core.records import CheckReport, DriftReport, Manifest, Plan, Refusal, ScoredBatch
from batchdeploy.redaction import logger
from batchdeploy.stages.report import AttemptRecords, find_reference, render_html
from batchdeploy.workflows.run_folders import attempt_folder, key_of_attempt, key_of_run
from batchdeploy.workflows.timing import StageClock
from batchdeploy.workflows.toolbox import Toolbox

LOG = logger("batchdeploy")


def draw_report(tools: Toolbox, planned: Plan, records: AttemptRecords | None = None) -> Path:
    """Writes report.html of an attempt.

    Args:
        tools: what answers for the deployment.
        planned: the attempt's plan.
        records: its records, where the caller has them in hand; else they are read.
    """
    reference = find_reference(planned, tools.references)
    records = records or find_records(tools, planned)
    html = render_html(planned, records, reference=reference, painter=tools.painter)
    tools.records.write_page(key_of_attempt(planned), html)
    tools.evidence.update_evidence(planned)
    return attempt_folder(tools, planned) / PAGE


def find_records(tools: Toolbox, planned: Plan) -> AttemptRecords:
    """The records that an attempt has by now."""
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
    """Draws the page of a published attempt; where that fails, a warning: the scores are out."""
    try:
        with clock.stage("report"):
            draw_report(tools, planned, records)
    except Exception as error:  # noqa: BLE001
        where = attempt_folder(tools, planned)
        LOG.warning("the page of %s could not be drawn: %s: %s", where, type(error).__name__, error)


def redraw_report(tools: Toolbox, key: str) -> None:
    """Draws the page of a run's folder again where it is missing, or was cut short by a full disk."""
    planned = None if tools.records.has_page(key) else tools.records.find(key, Plan)
    if planned is not None:
        try_draw_report(tools, planned, StageClock())
