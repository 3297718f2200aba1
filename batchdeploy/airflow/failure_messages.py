"""Error messages for Airflow users, and a failure callback for refused gates only."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from batchdeploy.airflow.links import report_url
from batchdeploy.errors import (
    BatchdeployError,
    GateRefused,
    OutsideError,
    Problem,
    PromotionRefused,
    RequestError,
    StaleRunError,
)

# Hints that need a shell or a notebook; Airflow users clear or trigger tasks instead.
SHELL = re.compile(r"\bbatchdeploy [a-z]|(?:^|\s)--[a-z]|\b(?:run it|plan the run) again\b|\bjob\.")
# A step that depends on an earlier step's output resumes there; other steps resume at themselves.
RESUMES_FROM = {"drift": "validate", "publish": "validate", "promote": "compare_models"}
REMEDIES = (
    "fix the rows, or change the deployment (an expectation's level, quarantine.max_share, policy, "
    "drift.on_alarm)"
)
REWORDED = (
    (re.compile(r",? then run (?:it|the same) again"), ""),
    (re.compile(r"\bsay --evolve\b"), "trigger it with the param evolve"),
)


class GateFailure(AirflowFailException):
    """A gate refused: the task fails without a retry; the evidence is in the report."""


class GateRefusal:
    """An ``on_failure_callback`` that calls others for refused gates only.

    It ignores infrastructure failures, such as an unreachable registry. Each callback gets Airflow's context
    plus ``refusal``: deployment, task, partition, reason (one line) and report (URL of the run's report in
    Airflow), for templates such as ``{{ refusal.reason }}``.

    Args:
        callbacks: functions of the context, or notifiers (Slack, mail, ...) from Airflow's providers.
    """

    def __init__(self, *callbacks: Callable[[Any], Any]) -> None:
        self.callbacks = callbacks

    def __call__(self, context: Any) -> None:
        """Calls the callbacks where the task failed because a gate refused."""
        error = context.get("exception")
        if not isinstance(error, GateFailure):
            return
        ti = context["ti"]
        refusal = {
            "deployment": getattr(ti.task, "deployment_name", ti.dag_id),
            "task": ti.task_id,
            "partition": context.get("partition_key") or (context.get("params") or {}).get("partition"),
            "reason": str(error),
            "report": report_url(ti.dag_id, ti.run_id),
        }
        for callback in self.callbacks:
            callback({**context, "refusal": refusal})


def format_one_line(error: BatchdeployError) -> str:
    """The error in one line, for a log or a tooltip."""
    return " ".join(str(error).replace("\n- ", " ").replace("\n", ". ").split())


def with_airflow_hint(error: BatchdeployError, action: str | None) -> BatchdeployError:
    """The error with a hint for Airflow users: tasks to clear or trigger instead of shell commands.

    Args:
        error: the step's error.
        action: what to do in Airflow; not added if the hint has such an action.
    """
    hint = error.hint or ""
    for words, instead in REWORDED:
        hint = words.sub(instead, hint)
    parts = [part for part in hint.split("; ") if part and not SHELL.search(part)]
    if action is not None and not any("clear " in part or "trigger " in part for part in parts):
        parts.append(action)
    return type(error)(error.where, error.problems, hint="; ".join(parts) or None)


def recovery_action(error: BatchdeployError, task: Any) -> str:
    """The action to take in Airflow after a failure.

    Args:
        error: the step's error.
        task: the operator.
    """
    if isinstance(error, PromotionRefused):
        deciding = sorted(task.upstream_task_ids - {_task_for(task, "compare_models")})
        return f"clear {', '.join(deciding)} to ask again"
    if isinstance(error, StaleRunError):
        return f"clear {_task_for(task, 'plan')} and what follows it: it plans against the published run"
    mended = _task_for(task, RESUMES_FROM.get(task.step))
    if isinstance(error, OutsideError):
        return f"Airflow tries again while tries are left; after that clear {mended} and what follows it"
    seen = "; the tab Report has the evidence" if isinstance(error, GateRefused) else ""
    return f"when that is fixed, clear {mended} and what follows it{seen}"


def missing_xcom_error(task: Any) -> RequestError:
    """The error of a task whose upstream task pushed no XCom."""
    before = ", ".join(sorted(task.upstream_task_ids)) or "the task before"
    problem = "handed on nothing: it was marked as success by hand, or its XCom was deleted"
    hint = f"marking a task passes no gate: {REMEDIES}, then clear {before} and what follows it"
    return RequestError(f"task {task.task_id}", (Problem(before, problem),), hint=hint)


def _task_for(task: Any, step: str | None) -> str:
    """The id of the upstream task that runs a step of the same deployment; else this task's id."""
    for other in task.get_flat_relatives(upstream=True) if task.has_dag() else ():
        if getattr(other, "step", None) == step and other.file == task.file:
            return str(other.task_id)
    return str(task.task_id)
