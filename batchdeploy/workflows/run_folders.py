"""Where the records of a run and of its attempts lie."""

from __future__ import annotations

from pathlib import Path

from batchdeploy.core.layout import PLAN, attempt_key, run_key
from batchdeploy.core.records import Plan
from batchdeploy.errors import Problem, RequestError
from batchdeploy.workflows.toolbox import Toolbox


def attempt_folder(tools: Toolbox, planned: Plan) -> Path:
    """The folder of the attempt's records; that of the run where no attempt was begun."""
    return tools.layout.control / key_of_attempt(planned)


def run_folder(tools: Toolbox, planned: Plan) -> Path:
    """The folder of the run's records."""
    return tools.layout.control / key_of_run(planned)


def key_of_attempt(planned: Plan) -> str:
    """The key of the attempt's records; that of the run's where no attempt was begun."""
    if not planned.attempt:
        return key_of_run(planned)
    return attempt_key(planned.folder, planned.run_id, planned.attempt)


def key_of_run(planned: Plan) -> str:
    """The key of the run's records."""
    return run_key(planned.folder, planned.run_id)


def key_of_folder(tools: Toolbox, folder: Path) -> str:
    """The key of the records in a folder that an orchestrator was given.

    Raises:
        RequestError: the folder is not in this table's control folder.
    """
    key = find_key(tools, folder)
    if key is None:
        problem = Problem(PLAN, f"is looked for below {tools.layout.control} only")
        raise RequestError(str(folder), (problem,), hint="give the folder that the step before answered")
    return key


def find_key(tools: Toolbox, place: Path) -> str | None:
    """The key of a file or folder; None where it is not in this table's control folder."""
    control, place = tools.layout.control.resolve(), place.resolve()
    return place.relative_to(control).as_posix() if place.is_relative_to(control) else None
