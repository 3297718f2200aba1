"""Looking after a published table: finishing what killed runs had decided, and removing what is left over."""

from __future__ import annotations

from batchdeploy.core.maintenance import CleanupReport
from batchdeploy.workflows import timing
from batchdeploy.workflows.status import check_own
from batchdeploy.workflows.toolbox import Toolbox


def recover(tools: Toolbox) -> CleanupReport:
    """Finishes what killed runs had decided to publish, and removes what they left in staging.

    Every workflow that publishes begins with it.

    Raises:
        PublishError: the table could not be locked.
    """
    return tools.maintenance.recover(now=timing.now().timestamp())


def collect_garbage(tools: Toolbox) -> CleanupReport:
    """Recovers, then removes earlier generations beyond ``publish.keep_generations``, and other leftovers.

    Records, drift tables and quarantined rows stay.

    Raises:
        TableError: the table is another deployment's.
        PublishError: the table could not be locked.
    """
    check_own(tools)
    return tools.maintenance.collect_garbage(now=timing.now().timestamp())
