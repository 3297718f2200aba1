"""The stages in order. Each step reads records, calls one stage, and writes one record.

Evidence first, then the gate that may refuse. The same steps serve the shell, a notebook, Airflow and DVC.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from batchdeploy.core.deployment import ModelRef
from batchdeploy.core.pins import check_partition
from batchdeploy.core.records import CheckReport, DriftReport, Manifest, Plan, Refusal, ScoredBatch
from batchdeploy.errors import GateRefused
from batchdeploy.ports import Toolbox
from batchdeploy.redaction import logger
from batchdeploy.stages.measure_drift import gate_drift, measure_drift
from batchdeploy.stages.publish import publish
from batchdeploy.stages.report import Found, find_reference, render_html, render_line
from batchdeploy.stages.resolve import resolve
from batchdeploy.stages.score import gate_quarantine, score
from batchdeploy.stages.validate import gate_validation, validate
from batchdeploy.storage.run_records import (
    PAGE,
    find,
    find_output,
    is_whole,
    read,
    write,
    write_page,
    write_refusal,
)
from batchdeploy.workflows.attempt import attempted, goes_on
from batchdeploy.workflows.stage_clock import Progress, StageClock
from batchdeploy.workflows.timing import timed
from batchdeploy.workflows.waiting import when_there

T = TypeVar("T", CheckReport, ScoredBatch, DriftReport)
LOG = logger("batchdeploy")


def silent(stage: str, rows: int) -> None:
    """The progress of somebody who does not watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a partition ended: ``published`` now, or ``identical`` to what was visible already.

    Attributes:
        seconds: what each stage took that this call went through.
    """

    status: Literal["published", "identical"]
    folder: Path
    manifest: Manifest
    seconds: Mapping[str, float] = field(default_factory=dict)


def now() -> datetime:
    """The clock of the doors; stages are told the time."""
    return datetime.now(UTC)


@timed("plan")
def plan(tools: Toolbox, partition: str, model: ModelRef | None = None, *, evolve: bool = False) -> Plan:
    """What a run of the partition would do, before it does anything.

    Args:
        tools: what answers for the deployment.
        partition: the partition's value.
        model: another model than the deployed one.
        evolve: lets the table get another model's scores, or other columns, than it has.
    """
    pin = None if model is None else tools.registry.resolve(model)
    return resolve(tools, partition, now=now().isoformat(), model=pin, evolve=evolve)


@timed("plan")
def replan(tools: Toolbox, planned: Plan) -> Plan:
    """The plan again, for rows, suite and reference as they are now; the model stays as it was pinned."""
    return resolve(
        tools, planned.partition, now=now().isoformat(), model=planned.model, evolve=planned.evolve
    )


def begin(tools: Toolbox, planned: Plan) -> Path:
    """Writes plan.json into the folder of a new attempt, and gives that folder.

    Whatever else works at the same pins has a folder of its own: what one attempt found must not pass for
    another's. The run's folder shows this one's evidence while nothing is published, or once this one is.
    """
    tools.check_packages()
    planned = replace(planned, attempt=f"{now():%Y%m%d%H%M%S%f}{uuid.uuid4().hex[:8]}")
    folder = tools.layout.attempt(planned.folder, planned.run_id, planned.attempt)
    write(folder, planned)
    tools.registry.settle(planned.model, tools.layout.models)
    tools.evidence.begin_evidence(planned)
    return folder


def run(
    tools: Toolbox,
    partition: str,
    *,
    repeat: bool = False,
    evolve: bool = False,
    progress: Progress = silent,
) -> Outcome:
    """Plans and executes one partition.

    Args:
        tools: what answers for the deployment.
        partition: the partition's value.
        repeat: scores and publishes again what is published already.
        evolve: lets the table get another model's scores, or other columns, than it has.
        progress: told the stage that begins (0 rows), and rows as they are scored.
    """
    clock = StageClock(progress)
    clock("resolve", 0)
    tools.maintenance.recover(now=now().timestamp())
    spec = tools.deployment.data.partition
    check_partition(spec.column, partition, spec.format)
    planned = when_there(tools, lambda: plan(tools, partition, evolve=evolve))
    return execute(tools, planned, repeat=repeat, progress=clock)


def execute(tools: Toolbox, planned: Plan, *, repeat: bool = False, progress: Progress = silent) -> Outcome:
    """Executes a plan to its end; what is visible already is left as it is.

    Raises:
        GateRefused: the evidence is in the run's folder, nothing was published.
    """
    folder, clock = run_folder(tools, planned), StageClock.of(progress)
    if planned.state == "identical" and not repeat and (folder / "manifest.json").is_file():
        mend_page(tools, folder)
        manifest = read(folder, Manifest)
        return Outcome(status="identical", folder=folder, manifest=manifest, seconds=clock.stop())
    attempt = begin(tools, planned)
    with attempted(tools, planned, partial(tell_refusal, tools, attempt)):
        manifest = _steps(tools, attempt, clock)
        clock("report", 0)
        draw_page(tools, attempt)
    return Outcome(status="published", folder=folder, manifest=manifest, seconds=clock.stop())


def _steps(tools: Toolbox, folder: Path, progress: Progress) -> Manifest:
    progress("validate", 0)
    check = step_validate(tools, folder)
    progress("score", 0)
    scored = step_score(tools, folder, progress)
    try:
        progress("drift", 0)
        step_drift(tools, folder, scored)
        progress("publish", 0)
        return step_publish(tools, folder, check, scored)
    except BaseException:
        tools.staging.discard(scored.attempt)
        raise


@timed("validate")
def step_validate(tools: Toolbox, folder: Path) -> CheckReport:
    """Writes check.json, then lets it pass or refuses."""
    planned = read(folder, Plan)
    report = keep(tools, planned, validate(tools, planned, now=now().isoformat()))
    gate_validation(planned, report)
    return report


@timed("score")
def step_score(tools: Toolbox, folder: Path, progress: Progress = silent) -> ScoredBatch:
    """Writes scored.json, with the scores in staging; then lets the quarantined rows pass or refuses."""
    planned = read(folder, Plan)
    scored = score(tools, planned, now=now(), done=partial(progress, "score"))
    try:
        keep(tools, planned, scored)
        gate_quarantine(planned, scored)
    except GateRefused:
        keep_quarantine(tools, planned, scored)
        tools.staging.discard(scored.attempt)
        raise
    except BaseException:
        tools.staging.discard(scored.attempt)
        raise
    return scored


@timed("drift")
def step_drift(tools: Toolbox, folder: Path, scored: ScoredBatch | None = None) -> DriftReport:
    """Writes drift.json and the drift table, then lets it pass or refuses."""
    planned = read(folder, Plan)
    scored = scored or read(folder, ScoredBatch)
    report = measure_drift(tools, planned, scored)
    tools.evidence.write_drift(planned, report)
    keep(tools, planned, report)
    try:
        gate_drift(planned, report)
    except GateRefused:
        keep_quarantine(tools, planned, scored)
        raise
    return report


@timed("publish")
def step_publish(
    tools: Toolbox, folder: Path, check: CheckReport | None = None, scored: ScoredBatch | None = None
) -> Manifest:
    """Publishes; manifest.json is written as the last part of the swap."""
    manifest = publish(
        tools,
        read(folder, Plan),
        check=check or read(folder, CheckReport),
        scored=scored or read(folder, ScoredBatch),
        drift=read(folder, DriftReport),
        clock=now,
    )
    LOG.info(render_line(manifest))
    return manifest


@timed("report")
def step_report(tools: Toolbox, folder: Path) -> Path:
    """Writes report.html from whatever records the folder holds."""
    planned = read(folder, Plan)
    scored, manifest = find(folder, ScoredBatch), find(run_folder(tools, planned), Manifest)
    mine = manifest is not None and scored is not None and scored.attempt == manifest.attempt
    found = Found(
        check=find(folder, CheckReport),
        scored=scored,
        drift=find(folder, DriftReport),
        refusal=find(folder, Refusal),
        manifest=manifest if mine else None,
        published_by=None if mine or manifest is None else manifest.attempt,
        printed=find_output(folder),
    )
    reference = find_reference(tools, planned)
    html = render_html(planned, found, reference=reference, painter=tools.painter)
    write_page(folder / PAGE, html)
    tools.evidence.update_evidence(planned)
    return folder / PAGE


def tell_refusal(tools: Toolbox, folder: Path, refusal: GateRefused) -> None:
    """Keeps why a gate refused an attempt, and draws its page; the refusal says where both are."""
    refusal.folder = str(folder)
    with goes_on(f"why {folder} was refused could not be kept"):
        write_refusal(folder, refusal)
    step_report(tools, folder)


def draw_page(tools: Toolbox, folder: Path) -> None:
    """Draws the page of a published attempt; where that fails, a warning: the scores are out."""
    try:
        step_report(tools, folder)
    except Exception as error:  # noqa: BLE001
        LOG.warning("the page of %s could not be drawn: %s: %s", folder, type(error).__name__, error)


def mend_page(tools: Toolbox, folder: Path) -> None:
    """Draws the page of a run's folder again where it is missing, or was cut short by a full disk."""
    planned = None if is_whole(folder / PAGE) else find(folder, Plan)
    if planned is not None:
        draw_page(tools, attempt_folder(tools, planned))


def keep_quarantine(tools: Toolbox, planned: Plan, scored: ScoredBatch) -> None:
    """Keeps the quarantined rows of an attempt that a gate refused; where that fails, a warning."""
    with goes_on(f"the quarantined rows of run {planned.run_id} could not be kept"):
        tools.evidence.keep_quarantine(planned, scored.attempt)
        tools.evidence.update_evidence(planned)


def keep(tools: Toolbox, planned: Plan, record: T) -> T:
    """Writes a record of an attempt, says in the log what is in it, and gives it back."""
    write(attempt_folder(tools, planned), record)
    LOG.info(render_line(record))
    tools.evidence.update_evidence(planned)
    return record


def attempt_folder(tools: Toolbox, planned: Plan) -> Path:
    """The folder of the attempt's records; that of the run where none was begun."""
    if not planned.attempt:
        return run_folder(tools, planned)
    return tools.layout.attempt(planned.folder, planned.run_id, planned.attempt)


def run_folder(tools: Toolbox, planned: Plan) -> Path:
    """The folder of the run's records."""
    return tools.layout.run(planned.folder, planned.run_id)
