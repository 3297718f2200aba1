"""Waits for rows that have not arrived yet, if ``on_missing`` is ``wait``."""

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
    """Calls ``look`` until the rows have arrived, and returns its result.

    Args:
        tools: the deployment's toolbox; the deployment sets the interval and the limit.
        look: raises PartitionError while the rows are missing.
        on_missing: the action for missing rows; only ``wait`` calls ``look`` more than once.

    Raises:
        PartitionError: the rows are missing, for ``wait`` even after ``data.wait_hours``.
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
