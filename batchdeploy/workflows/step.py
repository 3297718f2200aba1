"""Runs one step of a run, for orchestrators: a request in, an answer out, both plain JSON.

Between steps, the state of a run is its folder on disk, so each step may run in another process, on another
machine that shares the filesystem.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from batchdeploy.core.layout import run_key
from batchdeploy.core.locations import Location, as_location
from batchdeploy.core.pins import check_partition
from batchdeploy.core.records import CheckReport, DriftReport, Manifest, Plan, ScoredBatch
from batchdeploy.core.request import LATEST, Answer, Decision, StepRequest
from batchdeploy.core.system_errors import translate_system_errors
from batchdeploy.documents import to_plain
from batchdeploy.errors import PartitionError, Problem, RequestError
from batchdeploy.workflows.attempt import attempt, begin_attempt
from batchdeploy.workflows.compare_models import compare_models, render_markdown
from batchdeploy.workflows.maintenance import collect_garbage, recover
from batchdeploy.workflows.model_policy import model_policy
from batchdeploy.workflows.plan import plan, replan
from batchdeploy.workflows.promote import promote
from batchdeploy.workflows.report import redraw_report, try_draw_report
from batchdeploy.workflows.rollback import rollback
from batchdeploy.workflows.run import execute
from batchdeploy.workflows.run_folders import (
    attempt_folder,
    key_of_attempt,
    key_of_folder,
    key_of_run,
    run_folder,
)
from batchdeploy.workflows.run_steps import step_drift, step_publish, step_score, step_validate
from batchdeploy.workflows.timing import StageClock
from batchdeploy.workflows.toolbox import Toolbox

# When repeated, these steps plan again, because rows, suite or reference may have been fixed since. Later
# steps need the scores of their own plan.
PLANNED_ANEW = ("validate", "score")


@translate_system_errors("the step")
def take_step(tools: Toolbox, request: StepRequest) -> Answer:
    """Executes one step.

    Returns:
        ``outcome`` and further fields: ``done`` (folder, the host that wrote it, run_id and a few numbers),
        ``identical`` (nothing to do), ``missing`` (no rows yet; reason), or ``busy`` (holder of the claim).

    Raises:
        GateRefused: a gate refused; the evidence is in the run's folder.
        BatchdeployError: any other error of the step.
    """
    answer = _take(tools, request)
    return answer | {"host": socket.gethostname()} if "folder" in answer else answer


def _take(tools: Toolbox, request: StepRequest) -> Answer:
    if request.step in STEPS_WITHOUT_RUN:
        return STEPS_WITHOUT_RUN[request.step](tools, request)
    before = tools.records.read(key_of_folder(tools, _folder(request), host=request.host), Plan)
    planned = replan(tools, before) if request.is_retry and request.step in PLANNED_ANEW else before
    # If the plan step found the same pins published and still went on, a repeat was requested.
    if planned.state == "identical" and before.state != "identical":
        return _identical(tools, planned)
    if (busy := _claim(tools, planned, request)) is not None:
        return busy
    if planned is not before:
        planned = _begin_again(tools, request, before, planned)
    shared = {
        "outcome": "done",
        "folder": str(attempt_folder(tools, planned)),
        "run_id": planned.run_id,
        "partition": planned.partition,
        "model": planned.model.name,
        "model_version": planned.model.version,
    }
    # NOTE: a worker may have died after the swap; publishing again returns the manifest it published.
    with attempt(tools, planned):
        return shared | STEPS_OF_RUN[request.step](tools, planned, request)


def _begin_again(tools: Toolbox, request: StepRequest, before: Plan, planned: Plan) -> Plan:
    """Begins an attempt for a new plan; with unchanged pins it reuses the earlier validation."""
    if request.step == "validate" or planned.run_id != before.run_id:
        return begin_attempt(tools, planned)
    planned = replace(planned, attempt=before.attempt)
    return tools.records.write(key_of_attempt(planned), planned)


def _plan(tools: Toolbox, request: StepRequest) -> Answer:
    partition = _partition(tools, request.partition)
    recover(tools)
    model = None if request.model is None else model_policy(tools, request.model)
    try:
        with StageClock().stage("plan"):
            planned = plan(tools, partition, model, evolve=request.evolve)
    except PartitionError as error:
        return {"outcome": "missing", "partition": partition, "reason": str(error)}
    if (manifest := _published_by_earlier_try(tools, planned, request)) is not None:
        _release(tools, planned, request)
        redraw_report(tools, key_of_run(planned))
        return _answer_of_run(tools, planned, manifest)
    if planned.state == "identical" and not request.repeat:
        return _identical(tools, planned)
    if (busy := _claim(tools, planned, request)) is not None:
        return busy
    if request.step == "plan":
        folder = attempt_folder(tools, begin_attempt(tools, planned))
        return _planned(planned) | {"outcome": "done", "folder": str(folder)}
    outcome = execute(tools, planned, repeat=request.repeat)
    _release(tools, planned, request)
    return _answer_of_run(tools, planned, outcome.manifest)


def _published_by_earlier_try(tools: Toolbox, planned: Plan, request: StepRequest) -> Manifest | None:
    """The manifest of these pins if a try of the same whole run published them and then died."""
    if request.step != "run" or request.since is None or planned.state != "identical":
        return None
    manifest = tools.records.find(key_of_run(planned), Manifest)
    if manifest is None:
        return None
    published, began = (datetime.fromisoformat(text) for text in (manifest.published_at, request.since))
    return manifest if published >= began else None


def _answer_of_run(tools: Toolbox, planned: Plan, manifest: Manifest) -> Answer:
    """The answer of a whole run: of the plan, of the publish, and of drift."""
    drift = tools.records.find(key_of_run(planned), DriftReport)
    measured = {} if drift is None else {"drift": drift.verdict, "alarms": list(drift.alarms)}
    folder = str(run_folder(tools, planned))
    return _planned(planned) | _published(manifest) | measured | {"outcome": "done", "folder": folder}


def _compare_models(tools: Toolbox, request: StepRequest) -> Answer:
    partition = _partition(tools, request.partition or LATEST)
    comparison, file = compare_models(tools, partition, request.model or "challenger")
    return {
        "outcome": "done",
        "comparison": str(file),
        "markdown": render_markdown(comparison),
        **to_plain(comparison),
    }


def _promote(tools: Toolbox, request: StepRequest) -> Answer:
    decision = request.decision or Decision(approved=True)
    return {"outcome": "done", **to_plain(promote(tools, _folder(request), decision))}


def _roll_back(tools: Toolbox, request: StepRequest) -> Answer:
    if request.partition is None:
        raise _no_partition(tools)
    done = rollback(tools, request.partition, to=request.to)
    key = run_key(tools.deployment.data.partition.folder(done.partition), done.run_id)
    manifest = tools.records.find(key, Manifest)
    return {
        "outcome": "done",
        "folder": str(tools.layout.place(key)),
        "model": tools.deployment.model.name,
        **({} if manifest is None else _published(manifest)),
        **to_plain(done),
    }


def _folder(request: StepRequest) -> Location:
    if request.folder is None:
        raise RequestError("the request", f"step {request.step} needs the run's folder")
    return as_location(request.folder)


def _partition(tools: Toolbox, given: str | None) -> str:
    spec = tools.deployment.data.partition
    if given is None:
        raise _no_partition(tools)
    value = tools.source.partitions(tools.deployment.data)[-1] if given == LATEST else given
    return check_partition(spec.column, value, spec.format)


def _no_partition(tools: Toolbox) -> PartitionError:
    problem = Problem(tools.deployment.data.partition.column, "no partition was given")
    return PartitionError("the request", (problem,))


def _validate(tools: Toolbox, planned: Plan, _request: StepRequest) -> Answer:
    with StageClock().stage("validate"):
        report = step_validate(tools, planned)
    return {"rows": report.rows, "expectations": len(report.results), "failed": len(report.failed)}


def _score(tools: Toolbox, planned: Plan, request: StepRequest) -> Answer:
    # Rows were fixed after validation, so the new rows are validated before they are scored.
    if tools.records.find(key_of_attempt(planned), CheckReport) is None:
        _validate(tools, planned, request)
    with StageClock().stage("score") as done:
        scored = step_score(tools, planned, done=done)
    tools.publishing.staging.hand_over(scored.attempt)
    return {"scored": scored.rows_scored, "quarantined": scored.rows_quarantined}


def _drift(tools: Toolbox, planned: Plan, _request: StepRequest) -> Answer:
    scored = tools.records.read(key_of_attempt(planned), ScoredBatch)
    with StageClock().stage("drift"):
        report = step_drift(tools, planned, scored)
    return {"drift": report.verdict, "alarms": list(report.alarms)}


def _publish(tools: Toolbox, planned: Plan, request: StepRequest) -> Answer:
    records, key, clock = tools.records, key_of_attempt(planned), StageClock()
    scored, manifest = records.read(key, ScoredBatch), records.find(key_of_run(planned), Manifest)
    # A worker died after the swap: the scores are published, and only the report may be missing.
    if manifest is None or manifest.attempt != scored.attempt:
        check, drift = records.read(key, CheckReport), records.read(key, DriftReport)
        with clock.stage("publish"):
            manifest = step_publish(tools, planned, check=check, scored=scored, drift=drift)
    _release(tools, planned, request)
    try_draw_report(tools, planned, clock)
    return _published(manifest)


STEPS_OF_RUN: dict[str, Callable[[Toolbox, Plan, StepRequest], Answer]] = {
    "validate": _validate,
    "score": _score,
    "drift": _drift,
    "publish": _publish,
}
STEPS_WITHOUT_RUN: dict[str, Callable[[Toolbox, StepRequest], Answer]] = {
    "plan": _plan,
    "run": _plan,
    "compare_models": _compare_models,
    "promote": _promote,
    "rollback": _roll_back,
    "recover": lambda tools, _request: {"outcome": "done", **to_plain(recover(tools))},
    "collect_garbage": lambda tools, _request: {"outcome": "done", **to_plain(collect_garbage(tools))},
}


def _claim(tools: Toolbox, planned: Plan, request: StepRequest) -> Answer | None:
    if request.holder is None:
        return None
    holder = tools.publishing.claims.claim(
        planned.folder, request.holder, expected_holder=request.expected_holder
    )
    return None if holder == request.holder else {"outcome": "busy", "holder": holder}


def _release(tools: Toolbox, planned: Plan, request: StepRequest) -> None:
    if request.holder is not None:
        tools.publishing.claims.release(planned.folder, request.holder)


def _identical(tools: Toolbox, planned: Plan) -> Answer:
    redraw_report(tools, key_of_run(planned))
    return _planned(planned) | {"outcome": "identical", "folder": str(run_folder(tools, planned))}


def _planned(planned: Plan) -> Answer:
    return {
        "run_id": planned.run_id,
        "partition": planned.partition,
        "rows": planned.schema.rows,
        "model": planned.model.name,
        "model_version": planned.model.version,
        "alias": planned.model.alias,
        "data": f"{planned.data.tracked} {planned.data.digest}",
        "replaces": planned.base_run,
        "state": planned.state,
        "changes": list(planned.changes),
    }


def _published(manifest: Manifest) -> Answer:
    return {
        "run_id": manifest.run_id,
        "partition": manifest.partition,
        "model": manifest.model,
        "rows": manifest.rows_scored,
        "model_version": manifest.model_version,
        "verdict": manifest.drift,
    }
