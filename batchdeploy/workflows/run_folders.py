"""The folders and keys of the records of a run and its attempts."""

from __future__ import annotations

from pathlib import Path

from batchdeploy.core.layout import PLAN, attempt_key, run_key
from batchdeploy.core.records import Plan
from batchdeploy.errors import Problem, RequestError
from batchdeploy.workflows.toolbox import Toolbox


def attempt_folder(tools: Toolbox, planned: Plan) -> Path:
    """The folder of the attempt's records, or of the run's if the plan has no attempt."""
    return tools.layout.control / key_of_attempt(planned)


def run_folder(tools: Toolbox, planned: Plan) -> Path:
    """The folder of the run's records."""
    return tools.layout.control / key_of_run(planned)


def key_of_attempt(planned: Plan) -> str:
    """The key of the attempt's records, or of the run's if the plan has no attempt."""
    if not planned.attempt:
        return key_of_run(planned)
    return attempt_key(planned.folder, planned.run_id, planned.attempt)


def key_of_run(planned: Plan) -> str:
    """The key of the run's records."""
    return run_key(planned.folder, planned.run_id)


def key_of_folder(tools: Toolbox, folder: Path) -> str:
    """The key of a records folder, which an orchestrator passes from step to step.

    Raises:
        RequestError: the folder is not in this table's control folder.
    """
    key = find_key(tools, folder)
    if key is None:
        problem = Problem(PLAN, f"must be below {tools.layout.control}")
        raise RequestError(str(folder), (problem,), hint="pass the folder that the previous step returned")
    return key


def find_key(tools: Toolbox, place: Path) -> str | None:
    """The key of a file or folder; None if it is not in this table's control folder."""
    control, place = tools.layout.control.resolve(), place.resolve()
    return place.relative_to(control).as_posix() if place.is_relative_to(control) else None
