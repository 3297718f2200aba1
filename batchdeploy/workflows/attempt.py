"""How an attempt ends: with the evidence kept first and the page drawn last, whatever else goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from batchdeploy.core.records import Plan
from batchdeploy.errors import GateRefused
from batchdeploy.ports import Toolbox
from batchdeploy.redaction import logger
from batchdeploy.workflows.stopping import stoppable

LOG = logger("batchdeploy")


@contextmanager
def attempted(tools: Toolbox, planned: Plan, tell: Callable[[GateRefused], object]) -> Iterator[None]:
    """Does what `stoppable` does, and tells of an attempt that a gate refused: on its page.

    Args:
        tools: what answers for the deployment.
        planned: what is being executed.
        tell: keeps the refusal and draws the page; where that fails, the refusal stands all the same.
    """
    try:
        with stoppable(tools, planned):
            yield
    except GateRefused as refusal:
        refusal.run_id = planned.run_id
        with goes_on(f"the page of run {planned.run_id} could not be drawn"):
            tell(refusal)
        raise


@contextmanager
def goes_on(what: str) -> Iterator[None]:
    """Warns of a failure in place of raising it, where the attempt's end is decided already.

    Ctrl-C is one too: an attempt that was refused stays refused.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001
        LOG.warning("%s: %s: %s", what, type(error).__name__, error)
