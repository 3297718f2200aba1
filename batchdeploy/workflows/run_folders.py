"""The folders and keys of the records of a run and its attempts."""

from __future__ import annotations

import socket
from pathlib import Path

from batchdeploy.core.layout import PLAN, attempt_key, run_key
from batchdeploy.core.locations import Location, StoreUri, is_uri
from batchdeploy.core.records import Plan
from batchdeploy.errors import Problem, RequestError
from batchdeploy.workflows.toolbox import Toolbox

COMMON = (
    "give output.control a place that all machines reach: a URI in an object store, or a folder on a common "
    "disk at the same path"
)


def attempt_folder(tools: Toolbox, planned: Plan) -> Location:
    """The folder of the attempt's records, or of the run's if the plan has no attempt."""
    return tools.layout.place(key_of_attempt(planned))


def run_folder(tools: Toolbox, planned: Plan) -> Location:
    """The folder of the run's records."""
    return tools.layout.place(key_of_run(planned))


def key_of_attempt(planned: Plan) -> str:
    """The key of the attempt's records, or of the run's if the plan has no attempt."""
    if not planned.attempt:
        return key_of_run(planned)
    return attempt_key(planned.folder, planned.run_id, planned.attempt)


def key_of_run(planned: Plan) -> str:
    """The key of the run's records."""
    return run_key(planned.folder, planned.run_id)


def key_of_folder(tools: Toolbox, folder: Location, *, host: str | None = None) -> str:
    """The key of a records folder, which an orchestrator passes from step to step.

    Args:
        tools: the deployment's toolbox.
        folder: the folder.
        host: the machine that wrote it, if that is known.

    Raises:
        RequestError: the folder is not in this table's control folder, or this machine does not have it.
    """
    key = find_key(tools, folder)
    if key is not None and tools.records.has(key, Plan):
        return key
    here = socket.gethostname()
    if host not in (None, here) and not isinstance(folder, StoreUri):
        problem = Problem(PLAN, f"was written on machine {host}, and is not there on {here}")
        raise RequestError(str(folder), (problem,), hint=COMMON)
    if key is not None:
        return key
    problem = Problem(PLAN, f"must be below {tools.layout.control_target}")
    raise RequestError(str(folder), (problem,), hint="pass the folder that the previous step returned")


def find_key(tools: Toolbox, place: Location) -> str | None:
    """The key of a file or folder; None if it is not in this table's control folder."""
    target = tools.layout.control_target
    if isinstance(place, StoreUri):
        key = place.removeprefix(f"{target}/")
        return None if key == place or ".." in key.split("/") else key
    if is_uri(target):
        return None
    control, place = Path(target).resolve(), place.resolve()
    return place.relative_to(control).as_posix() if place.is_relative_to(control) else None
