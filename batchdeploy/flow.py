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
from batchdeploy.core.profiles import Reference
from batchdeploy.core.records import CheckReport, DriftReport, Manifest, Plan, ScoredBatch
from batchdeploy.documents import from_json
from batchdeploy.errors import GateRefused, PartitionError, Problem
from batchdeploy.evidence import find, find_output, read, write, write_page
from batchdeploy.model_policy import model_policy
from batchdeploy.ports import Toolbox
from batchdeploy.redaction import logger
from batchdeploy.stage_clock import Progress, StageClock
from batchdeploy.stages.compare import compare, gate_drift
from batchdeploy.stages.publish import publish
from batchdeploy.stages.report import render_html, render_line
from batchdeploy.stages.resolve import resolve
from batchdeploy.stages.score import gate_quarantine, score
from batchdeploy.stages.validate import gate_validation, validate
from batchdeploy.stopping import stoppable
from batchdeploy.timing import timed

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
    planned = replace(planned, attempt=f"{now():%Y%m%d%H%M%S%f}{uuid.uuid4().hex[:8]}")
    folder = tools.layout.attempt(planned.folder, planned.run_id, planned.attempt)
    write(folder, planned)
    tools.registry.settle(planned.model, tools.layout.models)
    tools.sink.begin_evidence(planned)
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
    tools.sink.recover(now=now().timestamp())
    return execute(tools, plan(tools, partition, evolve=evolve), repeat=repeat, progress=clock)


def execute(tools: Toolbox, planned: Plan, *, repeat: bool = False, progress: Progress = silent) -> Outcome:
    """Executes a plan to its end; what is visible already is left as it is.

    Raises:
        GateRefused: the evidence is in the run's folder, nothing was published.
    """
    folder, clock = run_folder(tools, planned), StageClock.of(progress)
    if planned.state == "identical" and not repeat and (folder / "manifest.json").is_file():
        manifest = read(folder, Manifest)
        return Outcome(status="identical", folder=folder, manifest=manifest, seconds=clock.stop())
    attempt = begin(tools, planned)
    with stoppable(tools, planned):
        manifest = _steps(tools, attempt, clock)
        clock("report", 0)
        try:
            step_report(tools, attempt)
        except Exception:
            # NOTE: the scores are published; a page that cannot be drawn does not make that untrue.
            LOG.exception("the report of run %s could not be drawn", planned.run_id)
    return Outcome(status="published", folder=folder, manifest=manifest, seconds=clock.stop())


def _steps(tools: Toolbox, folder: Path, progress: Progress) -> Manifest:
    progress("validate", 0)
    check = step_validate(tools, folder)
    progress("score", 0)
    scored = step_score(tools, folder, progress)
    try:
        progress("compare", 0)
        step_compare(tools, folder, scored)
        progress("publish", 0)
        return step_publish(tools, folder, check, scored)
    except BaseException:
        tools.sink.discard(scored.attempt)
        raise


@timed("validate")
def step_validate(tools: Toolbox, folder: Path) -> CheckReport:
    """Writes check.json, then lets it pass or refuses."""
    planned = read(folder, Plan)
    report = keep(tools, planned, validate(tools, planned, now=now().isoformat()))
    try:
        gate_validation(planned, report)
    except Exception:
        step_report(tools, folder)
        raise
    return report


@timed("score")
def step_score(tools: Toolbox, folder: Path, progress: Progress = silent) -> ScoredBatch:
    """Writes scored.json, with the scores in staging; then lets the set-aside rows pass or refuses."""
    planned = read(folder, Plan)
    scored: ScoredBatch | None = None
    try:
        scored = keep(tools, planned, score(tools, planned, now=now(), done=partial(progress, "score")))
        gate_quarantine(planned, scored)
    except GateRefused:
        if scored is not None:
            tools.sink.keep_quarantine(planned, scored.attempt)
            tools.sink.discard(scored.attempt)
        step_report(tools, folder)
        raise
    return scored


@timed("compare")
def step_compare(tools: Toolbox, folder: Path, scored: ScoredBatch | None = None) -> DriftReport:
    """Writes drift.json and the drift table, then lets it pass or refuses."""
    planned = read(folder, Plan)
    report = compare(tools, planned, scored or read(folder, ScoredBatch))
    tools.sink.write_drift(planned, report)
    keep(tools, planned, report)
    try:
        gate_drift(planned, report)
    except Exception:
        step_report(tools, folder)
        raise
    return report


@timed("publish")
def step_publish(
    tools: Toolbox, folder: Path, check: CheckReport | None = None, scored: ScoredBatch | None = None
) -> Manifest:
    """Publishes; the sink writes manifest.json as the last part of the swap."""
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
    reference = None
    if planned.reference is not None:
        text = (tools.root / planned.reference.path).read_bytes()
        reference = from_json(Reference, text, where=planned.reference.path)
    scored, manifest = find(folder, ScoredBatch), find(run_folder(tools, planned), Manifest)
    mine = manifest is not None and scored is not None and scored.attempt == manifest.attempt
    html = render_html(
        planned,
        check=find(folder, CheckReport),
        scored=scored,
        drift=find(folder, DriftReport),
        manifest=manifest if mine else None,
        published_by=None if mine or manifest is None else manifest.attempt,
        reference=reference,
        painter=tools.painter,
        printed=find_output(folder),
    )
    write_page(folder / "report.html", html)
    tools.sink.update_evidence(planned)
    return folder / "report.html"


def keep(tools: Toolbox, planned: Plan, record: T) -> T:
    """Writes a record of an attempt, says in the log what is in it, and gives it back."""
    write(attempt_folder(tools, planned), record)
    LOG.info(render_line(record))
    tools.sink.update_evidence(planned)
    return record


def attempt_folder(tools: Toolbox, planned: Plan) -> Path:
    """The folder of the attempt's records; that of the run where none was begun."""
    if not planned.attempt:
        return run_folder(tools, planned)
    return tools.layout.attempt(planned.folder, planned.run_id, planned.attempt)


def plan_range(
    tools: Toolbox, first: str, last: str, model: ModelRef | None = None, *, evolve: bool = False
) -> list[Plan]:
    """A plan for each partition there is from first to last, both included; the model is pinned once.

    Where no model is given, it is that of the deployment's ``backfill.model``, else the deployed one.
    All of them before any is executed: a range with a bad partition is refused with nothing written.

    Raises:
        RequestError: no partition in the range, or one that cannot be scored.
    """
    wanted = partitions_between(tools, first, last)
    pin = tools.registry.resolve(model or model_policy(tools, tools.deployment.backfill.model))
    return [
        resolve(tools, partition, now=now().isoformat(), model=pin, evolve=evolve) for partition in wanted
    ]


def partitions_between(tools: Toolbox, first: str, last: str) -> tuple[str, ...]:
    """The partitions there are from first to last, both included, in order."""
    spec = tools.deployment.data.partition
    for bound in (first, last):
        check_partition(spec.column, bound, spec.format)
    known = tools.store.partitions(tools.deployment.data)
    wanted = tuple(partition for partition in known if first <= partition <= last)
    if not wanted:
        raise PartitionError(
            tools.deployment.data.path,
            (Problem(spec.column, "no partition in this range", f"{first} to {last}"),),
            hint=f"there are {len(known)} from {known[0]} to {known[-1]}",
        )
    return wanted


def run_folder(tools: Toolbox, planned: Plan) -> Path:
    """The folder of the run's records."""
    return tools.layout.run(planned.folder, planned.run_id)
