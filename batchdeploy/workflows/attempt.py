"""Begins and ends an attempt at a run, and records why a gate refused it."""

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
    """Begins an attempt: writes plan.json with the attempt's name to the attempt's folder; returns that plan.

    Each attempt has a separate folder, so that concurrent attempts with the same pins do not mix evidence.
    The run's folder shows this attempt's evidence unless another attempt is published.
    """
    tools.check_packages()
    tools.own_control()
    planned = replace(planned, attempt=f"{timing.now():%Y%m%d%H%M%S%f}{uuid.uuid4().hex[:8]}")
    tools.records.write(key_of_attempt(planned), planned)
    tools.fetcher.keep_download(planned.model, tools.layout.models)
    tools.publishing.evidence.begin_evidence(planned)
    return planned


@contextmanager
def attempt(tools: Toolbox, planned: Plan) -> Iterator[None]:
    """Wraps the execution of an attempt: turns a stop into `RunStopped`, and records a gate's refusal.

    The refusal is raised even if it cannot be recorded or its page cannot be drawn.
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
    """Writes a gate's refusal and draws the page; adds the run id and the page's path to the exception."""
    folder = attempt_folder(tools, planned)
    refusal.folder = str(folder)
    with warn_on_failure(f"the refusal of {folder} could not be recorded"):
        tools.records.write_refusal(key_of_attempt(planned), refusal)
    draw_report(tools, planned)


@contextmanager
def warn_on_failure(what: str) -> Iterator[None]:
    """Logs an exception instead of raising it, for work after the attempt's outcome is decided.

    This includes Ctrl-C: a refused attempt stays refused.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001
        LOG.warning("%s: %s: %s", what, type(error).__name__, error)
