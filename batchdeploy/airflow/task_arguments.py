"""Checks which tasks a DAG gets, and the operator arguments that its author gives to single tasks."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Literal, get_args

from batchdeploy.airflow.suggestions import suggestion
from batchdeploy.errors import Problem, RequestError

Tasks = Literal["five", "one"]
Wait = Literal["reschedule", "defer"]
TASK_IDS: Mapping[str, tuple[str, ...]] = {
    "five": ("plan", "validate", "score", "drift", "publish"),
    "one": ("run",),
}
# What the factory sets itself, or what the tasks of a run cannot do without.
OWNED = {
    "task_id": "each task has the name of its step",
    "deployment": "it is the factory's own argument",
    "environment": "it is the factory's own argument",
    "wait": "it is the factory's own argument",
    "run": "each task continues the run of the task before",
    "dag": "the task belongs to the DAG that is made",
    "task_group": "the task belongs to the group that is made",
    "default_args": "give it to the DAG or the group",
    "do_xcom_push": "a task hands its run on by XCom",
    "multiple_outputs": "a task hands its run on by XCom",
}


def check_wait(wait: str) -> None:
    """Checks the argument ``wait``.

    Raises:
        RequestError: it is neither ``reschedule`` nor ``defer``.
    """
    if wait not in get_args(Wait):
        known = " or ".join(map(repr, get_args(Wait)))
        raise RequestError("the DAG file", (Problem("wait", f"must be {known}", repr(wait)),))


def check_task_arguments(tasks: str, given: Mapping[str, Any] | None) -> None:
    """Checks the arguments ``tasks`` and ``task_arguments`` of `ScoringDag`.

    Raises:
        RequestError: lists each unknown task, unknown argument, and argument that the factory sets.
    """
    if tasks not in TASK_IDS:
        problem = Problem("tasks", f"must be {' or '.join(map(repr, TASK_IDS))}", repr(tasks))
        raise RequestError("the DAG file", (problem,))
    if problems := tuple(_problems(TASK_IDS[tasks], {} if given is None else given)):
        hint = f"tasks are {', '.join(TASK_IDS[tasks])}; default_args sets arguments of all tasks"
        raise RequestError("the DAG file", problems, hint=hint)


def _problems(known: tuple[str, ...], given: Any) -> Iterator[Problem]:
    if not isinstance(given, Mapping):
        yield Problem("task_arguments", "must be a dict of task to its arguments", repr(given))
        return
    for task, arguments in given.items():
        path = f"task_arguments[{task!r}]"
        if task not in known:
            yield Problem(path, f"no such task{suggestion(task, known)}")
        elif not isinstance(arguments, Mapping):
            yield Problem(path, "must be a dict of the operator's arguments", repr(arguments))
        else:
            yield from _argument_problems(path, arguments)


def _argument_problems(path: str, arguments: Mapping[Any, Any]) -> Iterator[Problem]:
    for name in arguments:
        if name in OWNED:
            yield Problem(f"{path}[{name!r}]", f"cannot be set: {OWNED[name]}")
        elif name not in _operator_arguments():
            known = tuple(sorted(_operator_arguments() - set(OWNED)))
            yield Problem(f"{path}[{name!r}]", f"no argument of an operator{suggestion(name, known)}")


@cache
def _operator_arguments() -> frozenset[str]:
    from airflow.sdk import BaseOperator

    parameters = inspect.signature(BaseOperator.__init__).parameters.values()
    return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
