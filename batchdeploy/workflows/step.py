"""One step of a run at a time, for orchestrators: a request in, an answer out, both plain JSON.

Between its steps a run is only its folder on disk, so each step may be another process on another machine
that sees the same filesystem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from batchdeploy.core.pins import check_partition
from batchdeploy.core.records import CheckReport, Manifest, Plan, ScoredBatch
from batchdeploy.core.request import LATEST, Answer, Decision, StepRequest
from batchdeploy.core.system_errors import told_as_ours
from batchdeploy.documents import to_plain
from batchdeploy.errors import PartitionError, Problem, RequestError
from batchdeploy.ports import Toolbox
from batchdeploy.storage import run_records
from batchdeploy.workflows import execution
from batchdeploy.workflows.attempt import attempted
from batchdeploy.workflows.model_policy import model_policy
from batchdeploy.workflows.promote import compare_models, promote, render_markdown

# NOTE: rows, suite or reference may have been mended since; later steps need the scores of their own plan.
PLANNED_ANEW = ("validate", "score")


@told_as_ours("the step")
def take_step(tools: Toolbox, request: StepRequest) -> Answer:
    """Does the step.

    Returns:
        ``outcome`` and what goes with it: ``done`` (folder, run_id and a few numbers), ``identical``
        (nothing to do), ``missing`` (no rows yet; reason), or ``busy`` (holder: who is at work on it).

    Raises:
        GateRefused: the evidence is in the run's folder.
        BatchdeployError: as the step itself.
    """
    if request.step in ("plan", "run"):
        return _plan(tools, request)
    if request.step == "compare_models":
        return _compare_models(tools, request)
    if request.folder is None:
        raise RequestError("the request", f"step {request.step} needs the run's folder")
    folder = Path(request.folder)
    if request.step == "promote":
        return {
            "outcome": "done",
            **to_plain(promote(tools, folder, request.decision or Decision(approved=True))),
        }
    before = run_records.read(folder, Plan)
    planned = execution.replan(tools, before) if request.is_retry and request.step in PLANNED_ANEW else before
    # NOTE: a plan that was identical to what is published is a repeat that somebody wanted.
    if planned.state == "identical" and before.state != "identical":
        return _identical(tools, planned)
    if (busy := _claim(tools, planned, request)) is not None:
        return busy
    if planned is not before:
        folder = _begin_again(tools, request, before, planned)
    shared = {
        "outcome": "done",
        "folder": str(folder),
        "run_id": planned.run_id,
        "partition": planned.partition,
        "model": planned.model.name,
        "model_version": planned.model.version,
    }
    # NOTE: a worker that died after the swap is no stop; what it published is found out by publishing again.
    with attempted(tools, planned, partial(execution.tell_refusal, tools, folder)):
        return shared | DO[request.step](tools, folder, request)


def _begin_again(tools: Toolbox, request: StepRequest, before: Plan, planned: Plan) -> Path:
    """The folder of a run that was planned anew; with the same pins what validation found still holds."""
    if request.step == "validate" or planned.run_id != before.run_id:
        return execution.begin(tools, planned)
    folder = execution.attempt_folder(tools, before)
    run_records.write(folder, replace(planned, attempt=before.attempt))
    return folder


def _plan(tools: Toolbox, request: StepRequest) -> Answer:
    partition = _partition(tools, request.partition)
    tools.maintenance.recover(now=execution.now().timestamp())
    model = None if request.model is None else model_policy(tools, request.model)
    try:
        planned = execution.plan(tools, partition, model, evolve=request.evolve)
    except PartitionError as error:
        return {"outcome": "missing", "partition": partition, "reason": str(error)}
    if planned.state == "identical" and not request.repeat:
        return _identical(tools, planned)
    if (busy := _claim(tools, planned, request)) is not None:
        return busy
    answer = _planned(planned) | {"outcome": "done"}
    if request.step == "plan":
        return answer | {"folder": str(execution.begin(tools, planned))}
    outcome = execution.execute(tools, planned, repeat=request.repeat)
    _release(tools, planned, request)
    return answer | _published(outcome.manifest) | {"folder": str(outcome.folder)}


def _compare_models(tools: Toolbox, request: StepRequest) -> Answer:
    partition = _partition(tools, request.partition or LATEST)
    comparison, file = compare_models(tools, partition, request.model or "challenger")
    return {
        "outcome": "done",
        "comparison": str(file),
        "markdown": render_markdown(comparison),
        **to_plain(comparison),
    }


def _partition(tools: Toolbox, given: str | None) -> str:
    spec = tools.deployment.data.partition
    if given is None:
        raise PartitionError("the request", (Problem(spec.column, "no partition was given"),))
    value = tools.store.partitions(tools.deployment.data)[-1] if given == LATEST else given
    return check_partition(spec.column, value, spec.format)


def _validate(tools: Toolbox, folder: Path, _request: StepRequest) -> Answer:
    report = execution.step_validate(tools, folder)
    return {"rows": report.rows, "expectations": len(report.results), "failed": len(report.failed)}


def _score(tools: Toolbox, folder: Path, _request: StepRequest) -> Answer:
    # NOTE: rows that were mended after validation; they are scored only once they were validated themselves.
    if run_records.find(folder, CheckReport) is None:
        execution.step_validate(tools, folder)
    scored = execution.step_score(tools, folder)
    tools.staging.hand_over(scored.attempt)
    return {"scored": scored.rows_scored, "quarantined": scored.rows_quarantined}


def _drift(tools: Toolbox, folder: Path, _request: StepRequest) -> Answer:
    report = execution.step_drift(tools, folder)
    return {"drift": report.verdict, "alarms": list(report.alarms)}


def _publish(tools: Toolbox, folder: Path, request: StepRequest) -> Answer:
    planned, scored = run_records.read(folder, Plan), run_records.read(folder, ScoredBatch)
    manifest = run_records.find(execution.run_folder(tools, planned), Manifest)
    # NOTE: a worker that died after the swap; its scores are out, and only the report may be missing.
    if manifest is None or manifest.attempt != scored.attempt:
        manifest = execution.step_publish(tools, folder)
    _release(tools, planned, request)
    execution.draw_page(tools, folder)
    return _published(manifest)


DO: dict[str, Callable[[Toolbox, Path, StepRequest], Answer]] = {
    "validate": _validate,
    "score": _score,
    "drift": _drift,
    "publish": _publish,
}


def _claim(tools: Toolbox, planned: Plan, request: StepRequest) -> Answer | None:
    if request.holder is None:
        return None
    holder = tools.claims.claim(planned.folder, request.holder, expected_holder=request.expected_holder)
    return None if holder == request.holder else {"outcome": "busy", "holder": holder}


def _release(tools: Toolbox, planned: Plan, request: StepRequest) -> None:
    if request.holder is not None:
        tools.claims.release(planned.folder, request.holder)


def _identical(tools: Toolbox, planned: Plan) -> Answer:
    execution.mend_page(tools, execution.run_folder(tools, planned))
    return _planned(planned) | {"outcome": "identical", "folder": str(execution.run_folder(tools, planned))}


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
        "rows": manifest.rows_scored,
        "model_version": manifest.model_version,
        "verdict": manifest.drift,
    }
