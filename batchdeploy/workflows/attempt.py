"""One try at a run: where its records lie, how it begins, and how it ends."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from batchdeploy.core.records import Plan
from batchdeploy.errors import GateRefused
from batchdeploy.redaction import logger
from batchdeploy.workflows import timing
from batchdeploy.workflows.report import draw_report
from batchdeploy.workflows.run_folders import attempt_folder, key_of_attempt
from batchdeploy.workflows.stopping import stoppable
from batchdeploy.workflows.toolbox import Toolbox

LOG = logger("batchdeploy")


def begin_attempt(tools: Toolbox, planned: Plan) -> Plan:
    """The plan with a new attempt's name, written as plan.json into that attempt's folder.

    Whatever else works at the same pins has a folder of its own: what one attempt found must not pass for
    another's. The run's folder shows this one's evidence while nothing is published, or once this one is.
    """
    tools.check_packages()
    planned = replace(planned, attempt=f"{timing.now():%Y%m%d%H%M%S%f}{uuid.uuid4().hex[:8]}")
    tools.records.write(key_of_attempt(planned), planned)
    tools.fetcher.keep_download(planned.model, tools.layout.models)
    tools.evidence.begin_evidence(planned)
    return planned


@contextmanager
def attempt(tools: Toolbox, planned: Plan) -> Iterator[None]:
    """Executes an attempt: turns a stop into `RunStopped`, and records why a gate refused.

    Where the refusal cannot be recorded, or its page cannot be drawn, it stands all the same.
    """
    try:
        with stoppable(tools, planned):
            yield
    except GateRefused as refusal:
        refusal.run_id = planned.run_id
        with warn_on_failure(f"the page of run {planned.run_id} could not be drawn"):
            record_refusal(tools, planned, refusal)
        raise


def record_refusal(tools: Toolbox, planned: Plan, refusal: GateRefused) -> None:
    """Writes why a gate refused an attempt, and draws its page; the refusal says where both are."""
    folder = attempt_folder(tools, planned)
    refusal.folder = str(folder)
    with warn_on_failure(f"why {folder} was refused could not be kept"):
        tools.records.write_refusal(key_of_attempt(planned), refusal)
    draw_report(tools, planned)


@contextmanager
def warn_on_failure(what: str) -> Iterator[None]:
    """Logs a failure in place of raising it, where the attempt's end is decided already.

    Ctrl-C is one too: an attempt that was refused stays refused.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001
        LOG.warning("%s: %s: %s", what, type(error).__name__, error)
