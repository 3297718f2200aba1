"""Where the records of a run and of its attempts lie."""

from __future__ import annotations

from pathlib import Path

from batchdeploy.core.records import Plan
from batchdeploy.workflows.toolbox import Toolbox


def attempt_folder(tools: Toolbox, planned: Plan) -> Path:
    """The folder of the attempt's records; that of the run where no attempt was begun."""
    if not planned.attempt:
        return run_folder(tools, planned)
    return tools.layout.attempt(planned.folder, planned.run_id, planned.attempt)


def run_folder(tools: Toolbox, planned: Plan) -> Path:
    """The folder of the run's records."""
    return tools.layout.run(planned.folder, planned.run_id)
