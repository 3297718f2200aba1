"""Earlier scores of a partition made the visible ones again, at once; nothing is scored."""

from __future__ import annotations

from dataclasses import dataclass

from batchdeploy.core.pins import check_partition
from batchdeploy.workflows import timing
from batchdeploy.workflows.maintenance import recover
from batchdeploy.workflows.status import check_own
from batchdeploy.workflows.toolbox import Toolbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """What a rollback did.

    Attributes:
        run_id: the run whose scores are visible now.
        replaced: the run whose scores were visible before, or None.
    """

    partition: str
    run_id: str
    replaced: str | None


def rollback(tools: Toolbox, partition: str, *, to: str | None = None) -> Rollback:
    """Makes an earlier run's scores of a partition the visible ones again.

    The rows, files and records are those of that run, untouched. A later run of the same partition publishes
    what its pins say, as always.

    Args:
        tools: what answers for the deployment.
        partition: the partition's value.
        to: the run to go back to; None for the one before.

    Raises:
        TableError: the table is another deployment's.
        PartitionError: there is no such partition, or no such generation.
        StaleRunError: another run has published the partition meanwhile.
    """
    check_own(tools)
    spec = tools.deployment.data.partition
    folder = spec.folder(check_partition(spec.column, partition, spec.format))
    recover(tools)
    published = tools.table.published_run(folder)
    at = timing.now().isoformat()
    run = tools.publisher.roll_back(folder, to=to, expected_run=published, at=at)
    return Rollback(partition=partition, run_id=run, replaced=published)
