"""Maintains a published table: completes publishes of killed runs, and removes leftovers."""

from __future__ import annotations

from batchdeploy.core.maintenance import CleanupReport
from batchdeploy.workflows import timing
from batchdeploy.workflows.status import check_own
from batchdeploy.workflows.toolbox import Toolbox


def recover(tools: Toolbox) -> CleanupReport:
    """Completes publishes that killed runs had begun, and removes their staging folders.

    Every workflow that publishes calls it first.

    Raises:
        PublishError: the table could not be locked.
    """
    return tools.publishing.maintenance.recover(now=timing.now().timestamp())


def collect_garbage(tools: Toolbox) -> CleanupReport:
    """Recovers, then removes generations beyond ``publish.keep_generations`` and other leftovers.

    Records, drift tables and quarantined rows stay.

    Raises:
        TableError: the table belongs to another deployment.
        PublishError: the table could not be locked.
    """
    check_own(tools)
    return tools.publishing.maintenance.collect_garbage(now=timing.now().timestamp())
