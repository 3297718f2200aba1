"""The page of an attempt: drawn from whatever records it has, and drawn again where it is missing."""

from __future__ import annotations

from pathlib import Path

from batchdeploy.core.layout import PAGE
from batchdeploy.core.records import CheckReport, DriftReport, Manifest, Plan, Refusal, ScoredBatch
from batchdeploy.redaction import logger
from batchdeploy.stages.report import Found, find_reference, render_html
from batchdeploy.storage.run_records import find, find_output, is_whole, write_page
from batchdeploy.workflows.run_folders import attempt_folder, run_folder
from batchdeploy.workflows.timing import StageClock
from batchdeploy.workflows.toolbox import Toolbox

LOG = logger("batchdeploy")


def draw_report(tools: Toolbox, planned: Plan, found: Found | None = None) -> Path:
    """Writes report.html of an attempt.

    Args:
        tools: what answers for the deployment.
        planned: the attempt's plan.
        found: its records, where the caller has them in hand; else they are read.
    """
    folder = attempt_folder(tools, planned)
    reference = find_reference(planned, tools.texts)
    found = found or find_records(tools, planned)
    html = render_html(planned, found, reference=reference, painter=tools.painter)
    write_page(folder / PAGE, html)
    tools.evidence.update_evidence(planned)
    return folder / PAGE


def find_records(tools: Toolbox, planned: Plan) -> Found:
    """The records that an attempt has by now."""
    folder = attempt_folder(tools, planned)
    scored, manifest = find(folder, ScoredBatch), find(run_folder(tools, planned), Manifest)
    mine = manifest is not None and scored is not None and scored.attempt == manifest.attempt
    return Found(
        check=find(folder, CheckReport),
        scored=scored,
        drift=find(folder, DriftReport),
        refusal=find(folder, Refusal),
        manifest=manifest if mine else None,
        published_by=None if mine or manifest is None else manifest.attempt,
        printed=find_output(folder),
    )


def try_draw_report(tools: Toolbox, planned: Plan, clock: StageClock, found: Found | None = None) -> None:
    """Draws the page of a published attempt; where that fails, a warning: the scores are out."""
    try:
        with clock.stage("report"):
            draw_report(tools, planned, found)
    except Exception as error:  # noqa: BLE001
        where = attempt_folder(tools, planned)
        LOG.warning("the page of %s could not be drawn: %s: %s", where, type(error).__name__, error)


def redraw_report(tools: Toolbox, folder: Path) -> None:
    """Draws the page of a run's folder again where it is missing, or was cut short by a full disk."""
    planned = None if is_whole(folder / PAGE) else find(folder, Plan)
    if planned is not None:
        try_draw_report(tools, planned, StageClock())
