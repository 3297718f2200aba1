"""Rejects unknown keys in the config of a DAG run, which Airflow would ignore."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from batchdeploy.airflow.suggestions import suggestion
from batchdeploy.errors import Problem, RequestError

APPROVAL = "DecisionOperator"


def refuse_unknown_keys(context: Mapping[str, Any], *, read: Iterable[str], ours: type) -> None:
    """Raises for config keys that are neither params of the DAG nor read by these steps.

    In a DAG with other tasks, which may read other keys, only keys similar to a known key count as unknown.

    Args:
        context: Airflow's task context.
        read: the keys that the step reads.
        ours: the class of batchdeploy's operators.

    Raises:
        RequestError: there is an unknown key; the message suggests the closest known one.
    """
    given = getattr(context.get("dag_run"), "conf", None) or {}
    dag = context.get("dag")
    known = {*read, *getattr(dag, "params", ())}
    alone = all(isinstance(task, ours) or task.task_type == APPROVAL for task in getattr(dag, "tasks", ()))
    suggestions = {key: suggestion(key, sorted(known)) for key in given if key not in known}
    problems = tuple(
        Problem(key, f"unknown key{suggestions[key]}")
        for key in sorted(suggestions)
        if suggestions[key] or alone
    )
    if problems:
        raise RequestError(
            "the config of this DAG run",
            problems,
            hint=f"keys are {', '.join(sorted(known))}; trigger it again",
        )
