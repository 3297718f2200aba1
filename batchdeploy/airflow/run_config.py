"""The config of a DAG run: a key that nobody reads is refused, where Airflow would say nothing of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from batchdeploy.errors import Problem, RequestError

APPROVAL = "DecisionOperator"


def refuse_unknown_keys(context: Mapping[str, Any], *, read: Iterable[str], ours: type) -> None:
    """Refuses config keys that are neither params of the DAG nor read by these steps.

    In a DAG with other tasks too, which may read keys of their own, only a key that looks like a misspelled
    one of ours is.

    Args:
        context: Airflow's task context.
        read: the keys that the step reads.
        ours: the class of our operators; tasks of other classes are somebody else's.

    Raises:
        RequestError: such a key; with the one that is meant.
    """
    given = getattr(context.get("dag_run"), "conf", None) or {}
    dag = context.get("dag")
    known = {*read, *getattr(dag, "params", ())}
    alone = all(isinstance(task, ours) or task.task_type == APPROVAL for task in getattr(dag, "tasks", ()))
    meant = {key: get_close_matches(key.lower(), sorted(known), n=1) for key in given if key not in known}
    problems = tuple(
        Problem(key, f"unknown key; did you mean {meant[key][0]}?" if meant[key] else "unknown key")
        for key in sorted(meant)
        if meant[key] or alone
    )
    if problems:
        raise RequestError(
            "the config of this DAG run",
            problems,
            hint=f"keys are {', '.join(sorted(known))}; trigger it again",
        )
