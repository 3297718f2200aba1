"""Rows that are not there yet: waited for where the deployment, or a person, says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from batchdeploy.core.deployment import OnMissing
from batchdeploy.errors import PartitionError
from batchdeploy.redaction import logger
from batchdeploy.workflows.toolbox import Toolbox

T = TypeVar("T")
LOG = logger("batchdeploy")


def wait_for_rows(tools: Toolbox, look: Callable[[], T], on_missing: OnMissing) -> T:
    """What ``look`` returns, once the rows that it looks for are there.

    Args:
        tools: what answers for the deployment, which says how often to look and for how long.
        look: raises PartitionError as long as they are not.
        on_missing: what to do as long as they are not; only ``wait`` looks more than once.

    Raises:
        PartitionError: the rows are not there, or still not after ``data.wait_hours``.
    """
    data = tools.deployment.data
    until = time.monotonic() + data.wait_hours * 3600
    warned = False
    while True:
        try:
            return look()
        except PartitionError as error:
            if on_missing != "wait" or time.monotonic() + data.poll_seconds > until:
                raise
            if not warned:
                LOG.warning(
                    "waiting up to %g hours, looking each %g s: %s", data.wait_hours, data.poll_seconds, error
                )
                warned = True
            time.sleep(data.poll_seconds)
